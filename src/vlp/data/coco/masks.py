"""Polygons and run lengths as masks, checked before any memory is spent on them.

Source: COCO's data format, https://cocodataset.org/#format-data. Run lengths are decoded here rather than by
pycocotools, whose C code trusts what it is given; a test holds both against each other.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from typing import Any

import numpy as np
from PIL import Image

MAX_OUTLINE = 1_000_000
"""Pixels along all edges of a thing's polygons. Rasterising takes memory by the length, not by the area."""


# What Pillow raises of a header that it cannot read, or does not want to.
_HEADER_FAULTS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError),
    *(AttributeError, AssertionError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError),
)


class MaskError(ValueError):
    """A segmentation that is none, or not one of its image."""


def rasterise(segmentation: Any, width: int, height: int) -> np.ndarray:
    """The mask, bool [height, width], of one annotation's ``segmentation``.

    Args:
        segmentation: a list of polygons ``[x1, y1, x2, y2, …]``, or run lengths: ``counts`` and ``size``.
        width: of the image in pixels.
        height: of the image in pixels.

    Raises:
        MaskError: it is neither, or does not fit the image.
    """
    match segmentation:
        case list():
            return _polygons(segmentation, width, height)
        case {"counts": counts, "size": size}:
            if size != [height, width]:
                raise MaskError(f"segmentation: size {size!r}, the image's is {[height, width]}")
            return _runs(_compressed(counts) if isinstance(counts, str) else counts, width, height)
    raise MaskError(f"segmentation: expected polygons or run lengths, found {type(segmentation).__name__}")


def png(mask: np.ndarray) -> bytes:
    """``mask`` (bool [H, W]) as a PNG of one channel, 0 or 255: what ``Region.mask`` holds."""
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(buffer, format="PNG")
    return buffer.getvalue()


def header_size(image: bytes) -> tuple[int, int] | None:
    """Width and height by the header of an image file, before any orientation; None if none can be read.

    Nothing is decoded: whether it is a picture, validation judges.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(image)) as picture:
                return picture.width, picture.height
    except _HEADER_FAULTS:
        return None


def _polygons(polygons: list[Any], width: int, height: int) -> np.ndarray:
    from pycocotools import mask as coco

    if not polygons:
        raise MaskError("segmentation: no polygon")
    outline = 0.0
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise MaskError("segmentation: a polygon needs three points or more, x and y in turn")
        if not all(type(value) in (int, float) and abs(value) <= 1e6 and math.isfinite(value) for value in polygon):
            raise MaskError("segmentation: a polygon's coordinates are numbers near the image")
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        outline += float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
    if outline > MAX_OUTLINE:
        raise MaskError(f"segmentation: {outline:.0f} pixels of outline, allowed {MAX_OUTLINE}")
    flat = [[float(value) for value in polygon] for polygon in polygons]
    runs: bytes = coco.merge(coco.frPyObjects(flat, height, width))["counts"]
    return _runs(_compressed(runs.decode("ascii")), width, height)


def _runs(counts: Any, width: int, height: int) -> np.ndarray:
    """Runs of outside and inside in turn, column by column."""
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise MaskError("segmentation: run lengths are whole numbers, none negative")
    if sum(counts) != width * height:
        raise MaskError(f"segmentation: the run lengths make {sum(counts)} pixels, the image has {width * height}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape((height, width), order="F")


def _compressed(text: str) -> list[int]:
    """Run lengths from COCO's text: five bits a character, differences to the run before last."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 40:
            raise MaskError("segmentation: not a text of run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise MaskError("segmentation: the run lengths end early")
    return counts
