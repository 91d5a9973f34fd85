"""From measures to decisions: which records go, which captions go, what was repaired, what a person should see.

Every decision is a ``Finding`` with a reason that can be counted. Nothing is decided by order of arrival but
duplicates, where the earlier record stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import Field

from vlp.data import duplicates
from vlp.data.grouping import EXACT, NEAR, Unions, near_to, same_as
from vlp.params import Section
from vlp.records import Action, Finding, Measured

Duplicates = Literal["reject", "group", "off"]


class CleanParams(Section):
    """What is too poor to train on, and what becomes of duplicates.

    ``reject`` removes the later of two duplicates; ``group`` keeps both, reports them, and keeps them in one
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
    min_captions: int = Field(1, ge=0, description="usable captions that a record must have")
    exact_duplicates: Duplicates = Field("reject", description="same bytes or same prepared pixels")
    near_duplicates: Duplicates = Field("reject", description="same picture, encoded, shifted or rescaled anew")
    near_distance: float = Field(
        4.5, gt=0, le=32, description="RMS of 8×8 RGB thumbnails up to which pictures are near"
    )


@dataclass(slots=True)
class _Candidates:
    """What the search for duplicates needs of the records that are not rejected otherwise."""

    positions: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    pixels: list[bytes] = field(default_factory=list)
    captions: list[frozenset[str]] = field(default_factory=list)
    thumbnails: bytearray = field(default_factory=bytearray)
    appearances: list[tuple[float, float, float]] = field(default_factory=list)

    def add(self, position: int, measured: Measured) -> None:
        self.positions.append(position)
        self.ids.append(measured.id)
        self.contents.append(bytes.fromhex(measured.content_hash))
        self.pixels.append(bytes.fromhex(measured.pixel_hash))
        usable = zip(measured.caption_hashes, measured.caption_problems, strict=True)
        self.captions.append(frozenset(caption for caption, problem in usable if not problem))
        self.thumbnails += measured.thumbnail
        self.appearances.append((measured.sharpness, measured.contrast, measured.saturation))


def judge(measures: Iterable[Measured], params: CleanParams) -> list[Finding]:
    """Everything there is to say of the records, in their order.

    Args:
        measures: of every record; read once, a row at a time.
        params: thresholds, and what becomes of duplicates.
    """
    found: list[tuple[int, Finding]] = []
    candidates = _Candidates()
    for position, measured in enumerate(measures):
        of_one = [*_image_findings(measured, params), *_caption_findings(measured, params)]
        found.extend((position, finding) for finding in of_one)
        if not any(finding.action == "rejected" for finding in of_one):
            candidates.add(position, measured)
    found.extend(_duplicate_findings(candidates, params))
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


def _caption_findings(measured: Measured, params: CleanParams) -> Iterator[Finding]:
    for index, problem in enumerate(measured.caption_problems):
        if problem:
            reason, _, detail = problem.partition(": ")
            yield Finding(
                record=measured.id, field=f"captions[{index}]", reason=reason, detail=detail, action="dropped"
            )
    usable = measured.caption_problems.count("")
    if usable < params.min_captions:
        of = f"{usable} of {len(measured.caption_problems)} captions usable, {params.min_captions} asked"
        yield Finding(record=measured.id, field="captions", reason="no_caption", detail=of)


def _duplicate_findings(candidates: _Candidates, params: CleanParams) -> Iterator[tuple[int, Finding]]:
    def say(row: int, field: str, reason: str, detail: str, action: Action) -> tuple[int, Finding]:
        record = candidates.ids[row]
        return candidates.positions[row], Finding(
            record=record, field=field, reason=reason, detail=detail, action=action
        )

    repeats = _exact(candidates) if params.exact_duplicates != "off" else {}
    action: Action = "rejected" if params.exact_duplicates == "reject" else "reported"
    for row, first in repeats.items():
        detail = same_as(candidates.ids[first], file=candidates.contents[row] == candidates.contents[first])
        yield say(row, "image", EXACT, detail, action)
        mine, theirs = candidates.captions[row], candidates.captions[first]
        if mine and theirs and mine.isdisjoint(theirs):
            yield say(row, "captions", "conflicting_captions", f"{detail}, with other captions", "reported")
    if params.near_duplicates != "off":
        for row, other, distance, action in _near(candidates, repeats, params):
            yield say(row, "image", NEAR, near_to(candidates.ids[other], distance), action)


def _exact(candidates: _Candidates) -> dict[int, int]:
    """Row → the first row of the same picture. Equal files are equal pictures too."""
    first: dict[bytes, int] = {}
    rows = ((row, first.setdefault(pixels, row)) for row, pixels in enumerate(candidates.pixels))
    return {row: earlier for row, earlier in rows if earlier != row}


def _near(
    candidates: _Candidates, repeats: dict[int, int], params: CleanParams
) -> Iterator[tuple[int, int, float, Action]]:
    """Row, the earlier row that it nearly repeats, how far it is from it, and what becomes of it.

    Where duplicates are rejected, a row goes if it repeats one that stays. Every further link that joins two
    sets of look-alikes is reported, so that the sets can be kept in one split.
    """
    if not (count := len(candidates.ids)):
        return
    rows = np.array([row for row in range(count) if row not in repeats], dtype=np.int64)
    thumbnails = np.frombuffer(candidates.thumbnails, np.uint8).reshape(count, -1)[rows]
    appearances = np.array(candidates.appearances, dtype=np.float64).reshape(-1, 3)[rows]
    pairs = duplicates.near_pairs(thumbnails, appearances, params.near_distance)
    gone: set[int] = set()
    unions = Unions(count)
    for later, earlier, distance in sorted((later, earlier, distance) for earlier, later, distance in pairs):
        row, other = int(rows[later]), int(rows[earlier])
        joins = unions.join(row, other)
        if params.near_duplicates == "reject" and row not in gone and other not in gone:
            gone.add(row)
            yield row, other, distance, "rejected"
        elif joins:
            yield row, other, distance, "reported"
