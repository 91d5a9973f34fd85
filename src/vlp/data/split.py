"""Which split a record belongs to: by hash of its group, so that no relative of a picture is in two splits.

The hash depends on the group's name only: a data set that grows keeps every old record where it was. Where the
data set has official splits, they hold, and the splits that it lacks are carved out of its ``train``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from vlp.data.grouping import Groups
from vlp.params import Section
from vlp.records import Finding

SPLITS = ("train", "validation", "test")


class SplitError(ValueError):
    """A split would be empty, cleaning left nothing of an official one, or an official split has an unknown name."""


class SplitParams(Section):
    """Shares of the groups, and what becomes of a group that the official splits tear apart."""

    train: float = Field(gt=0, le=1, description="share of the groups")
    validation: float = Field(ge=0, lt=1, description="share of the groups; 0 where the data has it")
    test: float = Field(ge=0, lt=1, description="share of the groups; 0 where the data has it")
    turn: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="moves every group on by this share of the whole: with test = 1 / n, the turns 0, 1 / n, 2 / n … "
        "give n test splits without a common group, as cross-validation wants them",
    )
    official: Literal["keep", "ignore"] = Field(
        "keep", description="ignore: official splits are shared out like the rest, as cross-validation wants them"
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


class Members(NamedTuple):
    """What the split must know of every record, by row."""

    ids: pa.ChunkedArray
    groups: Groups
    official: pa.ChunkedArray
    """The official split's name, or null."""
    kept: np.ndarray
    """bool [N]: the others belong to no split."""


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


def assign_all(members: Members, seed: int, params: SplitParams) -> tuple[np.ndarray, list[Finding]]:
    """The split of every record, and what had to be rejected for it.

    A group with records in two official splits goes whole into the later of train, validation, test, so that
    test stays as published and training does not see its relatives.

    Args:
        members: the records.
        seed: of the hash.
        params: shares; what to do about conflicts.

    Returns:
        int8 [N], the split's place in ``SPLITS``, or −1 for a record of none; and the findings.

    Raises:
        SplitError: a split would be empty, no record of an official validation or test is kept, or an official one
            is none of ``SPLITS``.
    """
    numbers, names = members.groups
    official = _official(members) if params.official == "keep" else np.full(len(numbers), -1, np.int8)
    if params.official == "keep":
        _check_none_cleaned_away(members, official)
    settled = np.zeros(len(names), np.int8)  # a bit for each official split that the group is in
    np.bitwise_or.at(settled, numbers[official >= 0], np.int8(1) << official[official >= 0])
    present = np.zeros(len(names), bool)
    present[numbers[members.kept]] = True
    # Whatever is not official is cut from train, together with records that name no split.
    open_to = ["train", *(name for place, name in enumerate(SPLITS) if place and not (official == place).any())]
    of_group = np.full(len(names), -1, np.int8)
    for number in np.flatnonzero(present):
        last = int(settled[number]).bit_length() - 1
        of_group[number] = last if last > 0 else SPLITS.index(assign(str(names[int(number)]), seed, params, open_to))
    found = np.where(members.kept, of_group[numbers], -1).astype(np.int8)
    several = (settled & (settled - 1)) != 0
    torn = np.flatnonzero(several[numbers] & (official >= 0) & (official != found))
    findings = [_conflict(members, int(row), int(official[row]), int(found[row]), params) for row in torn]
    found[torn] = official[torn] if params.official_conflicts == "keep" else -1
    lost = np.bincount(official[torn], minlength=len(SPLITS)) if params.official_conflicts == "reject" else None
    _check_none_empty(found, int(present.sum()), params, lost)
    return found, findings


def _official(members: Members) -> np.ndarray:
    """int8 [N]: the official split's place in ``SPLITS``; −1 where there is none, or the record is not kept."""
    encoded = members.official.combine_chunks().dictionary_encode()
    places = np.array([SPLITS.index(name) if name in SPLITS else -2 for name in encoded.dictionary.to_pylist()] + [-1])
    found = places[encoded.indices.fill_null(len(places) - 1).to_numpy()]
    found[~members.kept] = -1
    if (unknown := np.flatnonzero(found == -2)).size:
        row = int(unknown[0])
        raise SplitError(
            f"record {str(members.ids[row])!r}: official split {str(members.official[row])!r} is none of "
            f"{', '.join(SPLITS)}; map it in the source's section"
        )
    return found.astype(np.int8)


def _check_none_cleaned_away(members: Members, official: np.ndarray) -> None:
    """A split that was published must not be cut from train in silence because none of its records is kept."""
    for place, name in enumerate(SPLITS[1:], start=1):
        published = pc.sum(pc.equal(members.official, name)).as_py() or 0
        if published and not (official == place).any():
            raise SplitError(
                f"split: cleaning rejects all {published} records of the official split {name}; look at "
                "reports/validation.html for the reasons and relax clean, or set split.official: ignore"
            )


def _conflict(members: Members, row: int, official: int, other: int, params: SplitParams) -> Finding:
    group = str(members.groups.names[int(members.groups.numbers[row])])
    return Finding(
        record=str(members.ids[row]),
        field="record",
        reason="split_conflict",
        detail=f"officially in {SPLITS[official]}, while group {group!r} is in {SPLITS[other]} too",
        action="rejected" if params.official_conflicts == "reject" else "reported",
    )


def _check_none_empty(found: np.ndarray, groups: int, params: SplitParams, lost: np.ndarray | None) -> None:
    """``lost``: of each split the records that conflicts cost it."""
    for place, name in enumerate(SPLITS):
        if not (found == place).any():
            if lost is not None and lost[place]:
                raise SplitError(
                    f"split: all {lost[place]} records of the official split {name} share a group with a later split "
                    "(split_conflict); mend the source's group, or set split.official_conflicts: keep"
                )
            raise SplitError(
                f"split: {name} would be empty: {int((found >= 0).sum())} records in {groups} groups, "
                f"share {getattr(params, name):g}; give more groups, or raise split.{name}"
            )
