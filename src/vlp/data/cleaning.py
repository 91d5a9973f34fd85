"""From measures to decisions: which records go, which captions go, what was repaired, what a person should see.

Every decision is a ``Finding`` with a reason that can be counted. Nothing is decided by order of arrival but
duplicates: the record of the later official split stays, so that a published test split keeps its size and training
does not see its pictures; inside of a split, the earlier record.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from vlp.data import duplicates, mapped
from vlp.data.grouping import EXACT, NEAR, Unions, near_to, same_as
from vlp.data.split import SPLITS
from vlp.params import Section
from vlp.records import Action, Finding, Measured

logger = logging.getLogger(__name__)

Duplicates = Literal["reject", "group", "off"]
MISMATCHED = "mismatched"
MISSING_SHOWN = 5
"""Ids that a message names of records that are not there."""
_HASH = 16
"""Bytes that are kept of a SHA-256: enough to tell a million million pictures apart."""


class CleanParams(Section):
    """What is too poor to train on, and what becomes of duplicates.

    ``reject`` removes all of some duplicates but the one of the latest official split (train, validation, test; of
    several there, and where there are none, the first); ``group`` keeps both, reports them, and keeps them in one
    split; ``off`` does not look for them.
    """

    colour_matters: bool = Field(description="captions name colours: a picture without any is rejected")
    min_saturation: float = Field(
        1.0, ge=0, description="mean of max(R,G,B) − min(R,G,B) below which there is no colour"
    )
    min_contrast: float = Field(
        1.5, ge=0, description="standard deviation, of the luma and of the colours, below which a picture is blank"
    )
    min_sharpness: float = Field(0.0, ge=0, description="variance of the Laplacian below which a picture is blurred")
    max_border: float = Field(
        1.0, gt=0, le=1, description="share of the area in bands of one colour at the edges, above which it is framed"
    )
    reviewed: Literal["drop", "report", "off"] = Field(
        "drop", description="what becomes of the pairs that review/rejected.jsonl names"
    )
    min_captions: int = Field(1, ge=0, description="usable captions that a record must have")
    exact_duplicates: Duplicates = Field("reject", description="same bytes or same prepared pixels")
    near_duplicates: Duplicates = Field("reject", description="same picture, encoded, shifted or rescaled anew")
    near_distance: float = Field(
        4.5,
        gt=0,
        le=32,
        description="RMS of 8×8 RGB thumbnails up to which pictures are near, if no part of them differs",
    )


_DIGEST = np.dtype((np.void, _HASH))
_CANDIDATES: dict[str, np.dtype[Any] | type[np.generic]] = {
    "positions": np.int64,
    "splits": np.int8,
    "appearances": np.float64,
    "contents": _DIGEST,
    "pixels": _DIGEST,
    "thumbnails": np.uint8,
    "details": np.uint8,
    "ids": np.uint8,
    "id_ends": np.int64,
    "captions": np.uint64,
    "caption_ends": np.int64,
}


class _Candidates:
    """What the search for duplicates needs of the records that are not rejected otherwise, in mapped files."""

    def __init__(self) -> None:
        self._files = {name: mapped.Growing(kind) for name, kind in _CANDIDATES.items()}
        self._whole: dict[str, np.ndarray] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._whole.clear()
        for file in self._files.values():
            file.close()

    def __len__(self) -> int:
        return self._files["positions"].size

    def add(self, position: int, measured: Measured) -> None:
        usable = zip(measured.caption_hashes, measured.caption_problems, strict=True)
        captions = [
            hashlib.blake2b(caption.encode(), digest_size=8).digest() for caption, problem in usable if not problem
        ]
        # What no official split claims may end up in any of them: it gives way, as train does.
        split = SPLITS.index(measured.split) if measured.split in SPLITS else 0
        looks = (measured.sharpness, measured.contrast, measured.saturation)
        for name, data in (
            ("positions", np.int64(position).tobytes()),
            ("splits", np.int8(split).tobytes()),
            ("appearances", np.array(looks, np.float64).tobytes()),
            ("contents", bytes.fromhex(measured.content_hash[-2 * _HASH :])),
            ("pixels", bytes.fromhex(measured.pixel_hash[-2 * _HASH :])),
            ("ids", measured.id.encode("utf-8", "surrogatepass")),
            ("captions", b"".join(captions)),
            ("thumbnails", measured.thumbnail),
            ("details", measured.details),
        ):
            self._files[name].add(data)
        for name, of in (("id_ends", "ids"), ("caption_ends", "captions")):
            self._files[name].add(np.int64(self._files[of].size).tobytes())

    def _column(self, name: str) -> np.ndarray:
        """One of the files, when all is added."""
        if name not in self._whole:
            self._whole[name] = self._files[name].whole()
        return self._whole[name]

    def _part(self, name: str, ends: str, row: int) -> np.ndarray:
        start = self._column(ends)[row - 1] if row else 0
        return self._column(name)[start : self._column(ends)[row]]

    def position(self, row: int) -> int:
        return int(self._column("positions")[row])

    def id(self, row: int) -> str:
        return self._part("ids", "id_ends", row).tobytes().decode("utf-8", "surrogatepass")

    def captions(self, row: int) -> frozenset[int]:
        return frozenset(self._part("captions", "caption_ends", row).tolist())

    def same_file(self, one: int, two: int) -> bool:
        first, second = (self._column("contents")[row].tobytes() for row in (one, two))
        return bool(first == second)

    def ranked(self) -> np.ndarray:
        """All rows; of two that are duplicates, the one that comes first here stays."""
        return np.argsort(-self._column("splits"), kind="stable")

    def repeats(self) -> dict[int, int]:
        """Row → the row of the same picture that stays. Equal files are equal pictures too."""
        ranked = self.ranked()
        pixels = self._column("pixels")[ranked]
        _, first, which = np.unique(pixels, return_index=True, return_inverse=True)
        stays = ranked[first[which]]
        repeats = stays != ranked
        return dict(sorted(zip(ranked[repeats].tolist(), stays[repeats].tolist(), strict=True)))

    def thumbnails(self) -> np.ndarray:
        """uint8 [N, 192], mapped."""
        return self._column("thumbnails").reshape(len(self), -1)

    def details(self) -> np.ndarray:
        """uint8 [N, 3072], mapped."""
        return self._column("details").reshape(len(self), -1)

    def appearances(self) -> np.ndarray:
        """float64 [N, 3], mapped."""
        return self._column("appearances").reshape(-1, 3)


def judge(
    measures: Iterable[Measured], params: CleanParams, rejected: Mapping[str, Mapping[str, str]] = MappingProxyType({})
) -> list[Finding]:
    """Everything there is to say of the records, in their order.

    Args:
        measures: of every record; read once, a row at a time.
        params: thresholds, and what becomes of duplicates.
        rejected: what people rejected, by record and field (``record``, ``captions[0]``), each with what they noted.
    """
    found: list[tuple[int, Finding]] = []
    missing = dict(rejected) if params.reviewed != "off" else {}
    with _Candidates() as candidates:
        for position, measured in enumerate(measures):
            people = dict(missing.pop(measured.id, {}))
            of_one = [*_image_findings(measured, params), *_caption_findings(measured, params, people)]
            found.extend((position, finding) for finding in of_one)
            if not any(finding.action == "rejected" for finding in of_one):
                candidates.add(position, measured)
        found.extend(_duplicate_findings(candidates, params))
    if missing:
        logger.warning(
            "review: %d of %d rejected records are not in the data, so nothing is rejected of them: %s",
            *(len(missing), len(rejected), ", ".join(map(repr, [*missing][:MISSING_SHOWN]))),
        )
    return [finding for _, finding in sorted(found, key=lambda item: item[0])]


def _image_findings(measured: Measured, params: CleanParams) -> Iterator[Finding]:
    def say(reason: str, detail: str, action: Action = "rejected") -> Finding:
        return Finding(record=measured.id, field="image", reason=reason, detail=detail, action=action)

    if not measured.readable:
        reason, _, detail = measured.problem.partition(": ")
        yield say(reason, detail)
        return
    # A yellow thing on white has next to no contrast in luma: only what has none in colour either is blank.
    if measured.contrast < params.min_contrast and (spread := _colour_spread(measured)) < params.min_contrast:
        yield say("blank", f"contrast {max(spread, measured.contrast):.2f}, at least {params.min_contrast:g} is asked")
    elif measured.sharpness < params.min_sharpness:
        yield say("blurred", f"sharpness {measured.sharpness:.2f}, at least {params.min_sharpness:g} is asked")
    if measured.border > params.max_border:
        yield say("framed", f"{measured.border:.0%} of the area is border, at most {params.max_border:.0%} is allowed")
    without_colour = params.colour_matters and measured.saturation < params.min_saturation
    if without_colour:
        yield say("greyscale", f"saturation {measured.saturation:.2f}, at least {params.min_saturation:g} is asked")
    for note in measured.notes:
        if not (without_colour and note == "greyscale"):
            yield say(note, f"{measured.format} {measured.mode}", "repaired")


def _colour_spread(measured: Measured) -> float:
    """Standard deviation of the thumbnail's colours around their mean, 8-bit scale."""
    colours = np.frombuffer(measured.thumbnail, np.uint8).reshape(-1, 3).astype(np.float64)
    return float(np.sqrt(((colours - colours.mean(axis=0)) ** 2).mean()))


def _caption_findings(measured: Measured, params: CleanParams, people: dict[str, str]) -> Iterator[Finding]:
    def say(field: str, reason: str, detail: str, action: Action) -> Finding:
        return Finding(record=measured.id, field=field, reason=reason, detail=detail, action=action)

    drop = params.reviewed == "drop"
    if (noted := people.pop("record", None)) is not None:
        yield say("record", MISMATCHED, noted, "rejected" if drop else "reported")
    usable = 0
    for index, problem in enumerate(measured.caption_problems):
        field = f"captions[{index}]"
        noted = people.pop(field, None)
        if problem:
            reason, _, detail = problem.partition(": ")
            yield say(field, reason, detail, "dropped")
        elif noted is not None:
            yield say(field, MISMATCHED, noted, "dropped" if drop else "reported")
        usable += not problem and not (drop and noted is not None)
    for field in sorted(people):
        yield say(field, "review_without_caption", f"there are {len(measured.caption_problems)} captions", "reported")
    if usable < params.min_captions:
        of = f"{usable} of {len(measured.caption_problems)} captions usable, {params.min_captions} asked"
        yield say("captions", "no_caption", of, "rejected")


def _duplicate_findings(candidates: _Candidates, params: CleanParams) -> Iterator[tuple[int, Finding]]:
    def say(row: int, field: str, reason: str, detail: str, action: Action) -> tuple[int, Finding]:
        record = candidates.id(row)
        return candidates.position(row), Finding(
            record=record, field=field, reason=reason, detail=detail, action=action
        )

    repeats = candidates.repeats() if params.exact_duplicates != "off" and len(candidates) else {}
    action: Action = "rejected" if params.exact_duplicates == "reject" else "reported"
    for row, first in repeats.items():
        detail = same_as(candidates.id(first), file=candidates.same_file(row, first))
        yield say(row, "image", EXACT, detail, action)
        mine, theirs = candidates.captions(row), candidates.captions(first)
        if mine and theirs and mine.isdisjoint(theirs):
            yield say(row, "captions", "conflicting_captions", f"{detail}, with other captions", "reported")
    if params.near_duplicates != "off":
        for row, other, distance, action in _near(candidates, repeats, params):
            yield say(row, "image", NEAR, near_to(candidates.id(other), distance), action)


def _near(
    candidates: _Candidates, repeats: dict[int, int], params: CleanParams
) -> Iterator[tuple[int, int, float, Action]]:
    """Row, the row of higher rank that it nearly repeats, how far it is from it, and what becomes of it.

    Where duplicates are rejected, a row goes if it repeats one that stays. Every further link that joins two
    sets of look-alikes is reported, so that the sets can be kept in one split.
    """
    if not (count := len(candidates)):
        return
    rows = candidates.ranked()
    rows = rows[~np.isin(rows, np.fromiter(repeats, np.int64, len(repeats)))]
    covered: set[int] = set()
    unions = Unions(count)
    crowded = True
    while crowded:
        pairs = duplicates.near_pairs(
            candidates.thumbnails(), candidates.details(), candidates.appearances(), params.near_distance, rows
        )
        for later, earlier, distance in sorted((later, earlier, distance) for earlier, later, distance in pairs):
            row, other = int(rows[later]), int(rows[earlier])
            joins = unions.join(row, other)
            repeat = row not in covered and other not in covered
            if repeat:
                covered.add(row)
            if repeat and params.near_duplicates == "reject":
                yield row, other, distance, "rejected"
            elif joins:
                yield row, other, distance, "reported"
        # In a crowd not all pairs are found at once: those that nothing stands for yet are searched again.
        crowded = duplicates.crowded(pairs)
        rows = rows[~np.isin(rows, np.fromiter(covered, np.int64, len(covered)))]
