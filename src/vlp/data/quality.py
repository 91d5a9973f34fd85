"""Measures of one record: does it decode, how large, how sharp, which hashes, which captions cannot be used.

Pure functions of the record and the preprocessing parameters: nothing is decided here (``cleaning`` does that),
nothing is remembered from record to record.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np

from vlp.data.duplicates import DETAILS_SIDE
from vlp.data.duplicates import SIDE as THUMBNAIL
from vlp.data.parallel import ordered_map
from vlp.preprocessing.image import ImageError, ImageParams, Prepared, format_of, prepare
from vlp.preprocessing.statistics import appearance, border
from vlp.preprocessing.text import TextParams, clean, problem, script, words
from vlp.progress import track
from vlp.records import Measured, Record

_REASON = re.compile(r"[a-z][a-z0-9_]*: ")


def measure(record: Record, image: ImageParams, text: TextParams) -> Measured:
    """Measure one record.

    Args:
        record: as collected.
        image: limits and geometry of images.
        text: limits of texts.
    """
    prepared, trouble = _decode(record, image)
    pixels = prepared.pixels if prepared else None
    cleaned = [clean(caption.text) for caption in record.captions]
    sharpness, contrast, saturation = (0.0, 0.0, 0.0) if pixels is None else appearance(pixels)
    return Measured(
        id=record.id,
        group=record.group,
        split=record.split,
        readable=prepared is not None,
        problem=trouble,
        notes=_notes(record.image_name, prepared),
        format=prepared.format if prepared else "",
        mode=prepared.mode if prepared else "",
        width=prepared.width if prepared else 0,
        height=prepared.height if prepared else 0,
        file_bytes=len(record.image),
        sharpness=sharpness,
        contrast=contrast,
        saturation=saturation,
        border=0.0 if pixels is None else border(pixels),
        content_hash=hashlib.sha256(record.image).hexdigest(),
        pixel_hash="" if pixels is None else hashlib.sha256(pixels.tobytes()).hexdigest(),
        thumbnail=b"" if pixels is None else thumbnail(pixels),
        details=b"" if pixels is None else thumbnail(pixels, DETAILS_SIDE),
        caption_problems=_caption_problems(record, text),
        caption_words=tuple(words(caption) for caption in cleaned),
        caption_hashes=tuple(hashlib.sha256(caption.encode()).hexdigest()[:16] for caption in cleaned),
        caption_scripts=tuple(script(caption) for caption in cleaned),
    )


def measure_all(
    records: Iterable[Record], image: ImageParams, text: TextParams, *, total: int | None = None
) -> Iterator[Measured]:
    """``measure`` over ``records`` on all cores, in their order, reporting progress.

    Args:
        records: read only as far ahead as the cores need.
        image: limits and geometry of images.
        text: limits of texts.
        total: how many records there are, if known: for the time left.
    """
    yield from track(ordered_map(partial(measure, image=image, text=text), records), "records measured", total)


def thumbnail(pixels: np.ndarray, cells: int = THUMBNAIL) -> bytes:
    """Means of a grid of ``pixels`` (uint8 [S, S, 3]), 8×8 unless told: 192 bytes, row-major RGB."""
    if len(pixels) < cells:
        times = -(-cells // len(pixels))
        pixels = pixels.repeat(times, axis=0).repeat(times, axis=1)
    side = len(pixels)
    edges = [round(step * side / cells) for step in range(cells + 1)]
    sums = np.add.reduceat(np.add.reduceat(pixels, edges[:-1], axis=0, dtype=np.uint32), edges[:-1], axis=1)
    areas = np.outer(np.diff(edges), np.diff(edges))[..., None]
    return ((sums + areas // 2) // areas).astype(np.uint8).tobytes()


def _decode(record: Record, params: ImageParams) -> tuple[Prepared | None, str]:
    if record.fault is not None:
        named = record.fault if _REASON.match(record.fault) else f"source_fault: {record.fault}"
        return None, named
    try:
        return prepare(record.image, params), ""
    except ImageError as error:
        return None, str(error)


def _notes(name: str, prepared: Prepared | None) -> tuple[str, ...]:
    if prepared is None:
        return ()
    claimed = format_of(name)
    wrong = ("wrong_extension",) if claimed is not None and claimed != prepared.format else ()
    return tuple(sorted((*prepared.notes, *wrong)))


def _caption_problems(record: Record, params: TextParams) -> tuple[str, ...]:
    scene = record.annotation if record.annotation and '"scenes"' in record.annotation else None
    return tuple(
        problem(caption.text, params) or (_contradiction(scene, caption.text) if scene else "")
        for caption in record.captions
    )


def _contradiction(scene: str, text: str) -> str:
    """A caption that is false of its own picture, where the source knows what the picture shows."""
    from vlp.data.scenes import oracle  # only this source's records need it

    holds = oracle.truth(scene, clean(text))
    return "contradicts_annotation: the scene shows something else" if holds is False else ""
