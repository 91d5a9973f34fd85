"""Which split a record belongs to: by hash of its group, so that no relative of a picture is in two splits.

The hash depends on the group's name only: a data set that grows keeps every old record where it was. Where the
data set has official splits, they hold, and the splits that it lacks are carved out of its ``train``.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from vlp.params import Section
from vlp.records import Finding

SPLITS = ("train", "validation", "test")


class SplitError(ValueError):
    """A split would be empty, or an official split has an unknown name."""


class SplitParams(Section):
    """Shares of the groups, and what becomes of a group that the official splits tear apart."""

    train: float = Field(gt=0, lt=1, description="share of the groups")
    validation: float = Field(gt=0, lt=1, description="share of the groups")
    test: float = Field(gt=0, lt=1, description="share of the groups")
    turn: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="moves every group on by this share of the whole: with test = 1 / n, the turns 0, 1 / n, 2 / n … "
        "give n test splits without a common group, as cross-validation wants them",
    )
    official_conflicts: Literal["reject", "keep"] = Field(
        "reject",
        description="a group in two official splits: reject its members outside the last of train, validation, test; "
        "or keep them, with the leak, as published figures may have been measured",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("train, validation and test must add up to 1")
        return self


class Member(NamedTuple):
    """What the split must know of a record."""

    record: str
    group: str
    official: str | None


def assign(group: str, seed: int, params: SplitParams, among: Sequence[str] = SPLITS) -> str:
    """The split of a group: a fixed function of its name, the seed and the shares.

    Args:
        group: its name.
        seed: another one gives other splits.
        params: the shares.
        among: the splits to choose from, by their shares of one another.
    """
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    place = (int.from_bytes(digest[:8], "big") / 2**64 + params.turn) % 1.0
    point = place * sum(getattr(params, name) for name in among)
    for name in among:
        point -= getattr(params, name)
        if point < 0:
            return name
    return among[-1]


def assign_all(members: Iterable[Member], seed: int, params: SplitParams) -> tuple[dict[str, str], list[Finding]]:
    """The split of every record, by id, and what had to be rejected for it.

    A group with records in two official splits goes whole into the later of train, validation, test, so that
    test stays as published and training does not see its relatives.

    Args:
        members: the records that are kept.
        seed: of the hash.
        params: shares; what to do about conflicts.

    Raises:
        SplitError: a split would be empty, or an official one is none of ``SPLITS``.
    """
    by_group: defaultdict[str, list[Member]] = defaultdict(list)
    for member in members:
        if member.official not in (None, *SPLITS):
            raise SplitError(
                f"record {member.record!r}: official split {member.official!r} is none of {', '.join(SPLITS)}; "
                "map it in the source's section"
            )
        by_group[member.group].append(member)
    official = {member.official for group in by_group.values() for member in group} - {None}
    # Whatever is not official is cut from train, together with records that name no split.
    open_to = ["train", *(name for name in SPLITS[1:] if name not in official)]
    found: dict[str, str] = {}
    findings: list[Finding] = []
    for name, group in by_group.items():
        settled = [split for split in SPLITS if any(member.official == split for member in group)]
        split = settled[-1] if settled else "train"
        if split == "train":
            split = assign(name, seed, params, open_to)
        for member in group:
            torn = len(settled) > 1 and member.official not in (None, split)
            if torn:
                findings.append(_conflict(member, split, params))
            if not torn:
                found[member.record] = split
            elif params.official_conflicts == "keep":
                found[member.record] = str(member.official)
    _check_none_empty(found, len(by_group), params)
    return found, findings


def _conflict(member: Member, other: str, params: SplitParams) -> Finding:
    return Finding(
        record=member.record,
        field="record",
        reason="split_conflict",
        detail=f"officially in {member.official}, while group {member.group!r} is in {other} too",
        action="rejected" if params.official_conflicts == "reject" else "reported",
    )


def _check_none_empty(found: Mapping[str, str], groups: int, params: SplitParams) -> None:
    counts = Counter(found.values())
    for name in SPLITS:
        if not counts[name]:
            raise SplitError(
                f"split: {name} would be empty: {len(found)} records in {groups} groups, "
                f"share {getattr(params, name):g}; give more groups, or raise split.{name}"
            )
