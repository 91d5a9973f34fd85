"""From a picture back to a scene, by classical means: colour, connected components, outlines that fit.

The judge of generated pictures. Nothing in it is trained: it knows the paints, the six outlines and the two sizes of
the world, and is thereby independent of every model that it judges. What it cannot do it gets wrong on real pictures
as well, where its answers can be held against the true scenes: measure that beside whatever it says of others.

1. Ground is dull and neither bright nor dark; its light is a plane, fitted to it. What is more colourful than half
   of a paint is that paint (by hue); what is dull and half-way to white or to black is white or black.
2. Neighbouring pixels of one paint are one piece.
3. Every outline of the world, in every size and some turns, is laid on a piece at every near place; the one that
   overlaps best (intersection over union, where another paint is nearer nothing can be said) is the thing. A piece
   that two outlines explain much better than one is two things that touch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from vlp.data.scenes.render import PAINT
from vlp.data.scenes.shapes import Shape, masks
from vlp.data.scenes.world import COLOURS, LEAST_VISIBLE, RADIUS, SHAPES, SIZES, Colour, Scene, Size, Thing

Mask = NDArray[np.bool_]

_DULL = 50.0
"""Largest less smallest channel: grounds have less, every paint but white and black more."""
_HUES: dict[Colour, float] = {"red": 357, "orange": 30, "yellow": 53, "green": 133, "blue": 228, "purple": 282}
"""Degrees, of ``PAINT``."""
_TURNS = (-10.0, -5.0, 0.0, 5.0, 10.0)
_REACH = 4
"""Pixels around a piece's middle, either way, at which outlines are laid on it (of 64 pixels a side)."""
_LEAST = 0.6
"""Share of the least visible pixels that a piece must have: its rim is lost between two paints."""
_PLAIN = 0.88
"""Overlap above which a piece is one thing without further question."""
_SPLIT = 0.12
"""Gain in overlap at which a piece counts as two things."""


@dataclass(frozen=True, slots=True)
class _Fit:
    """An outline laid on a piece: ``overlap`` with it, and the pixels that it covers."""

    shape: Shape
    size: Size
    x: int
    y: int
    turn: float
    overlap: float
    covers: Mask


def parse(picture: np.ndarray) -> Scene:
    """The scene that ``picture`` shows; ``look``, which no picture tells, is 0.

    Args:
        picture: uint8 [S, S, 3].
    """
    side = picture.shape[0]
    paints = paint_map(picture)
    things = []
    for number, colour in enumerate(COLOURS):
        pieces, count = ndimage.label(paints == number, structure=np.ones((3, 3)))
        others = (paints >= 0) & (paints != number)
        areas = np.bincount(pieces.ravel(), minlength=count + 1)
        for piece in 1 + np.flatnonzero(areas[1:] >= _outlines(side).least_area):
            things += [
                Thing(size=fit.size, colour=colour, shape=fit.shape, x=fit.x, y=fit.y, turn=fit.turn)
                for fit in _explain(pieces == piece, others)
            ]
    return Scene(side=side, things=tuple(things), look=0)


def paint_map(picture: np.ndarray) -> NDArray[np.int64]:
    """For each pixel the index of its paint in ``COLOURS``, −1 for ground: int64 [S, S]."""
    pixels = ndimage.gaussian_filter(picture.astype(np.float64), (0.4, 0.4, 0))
    most, least, luma = pixels.max(-1), pixels.min(-1), pixels.mean(-1)
    chroma = most - least
    dull = chroma < _DULL
    found = np.full(picture.shape[:2], -1, dtype=np.int64)
    hue = _hue(pixels, most, chroma)
    names = list(_HUES)
    gaps = np.abs((hue[..., None] - np.array([_HUES[name] for name in names]) + 180) % 360 - 180)
    nearest = gaps.argmin(-1)
    half = np.array([(max(PAINT[name]) - min(PAINT[name])) / 2 for name in names])
    coloured = chroma >= np.maximum(half[nearest], _DULL)
    found[coloured] = np.array([COLOURS.index(name) for name in names])[nearest[coloured]]
    low, high = _ground(luma, dull)
    found[dull & (luma > (high + 240) / 2)] = COLOURS.index("white")
    found[dull & (luma < (low + 23) / 2)] = COLOURS.index("black")
    return found


def _hue(pixels: np.ndarray, most: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Degrees [S, S], as in HSV."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    safe = np.maximum(chroma, 1e-6)
    angle = np.where(
        most == red, (green - blue) / safe, np.where(most == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    return np.asarray(60 * angle % 360)


def _ground(luma: np.ndarray, dull: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The darker and the brighter tone of the ground at each pixel, lit by a plane: float64 [S, S] each."""
    side = luma.shape[0]
    ramp = (np.arange(side) + 0.5) / side - 0.5
    across, down = np.meshgrid(ramp, ramp)
    terms = np.stack([np.ones_like(luma), across, down], axis=-1)
    known = dull & (luma > 55) & (luma < 225)
    plane = np.full_like(luma, 135.0)
    for _ in range(3):
        if known.sum() < 30:
            break
        plane = terms @ np.linalg.lstsq(terms[known], luma[known], rcond=None)[0]
        known = dull & (np.abs(luma / np.maximum(plane, 1) - 1) < 0.25)
    ratio = luma[known] / np.maximum(plane[known], 1) if known.any() else np.ones(1)
    low, high = np.percentile(ratio, [5, 95])
    return plane * low, plane * high


@dataclass(frozen=True, slots=True)
class _Outlines:
    """K outlines in windows of W pixels a side, centred: ``covers`` float32 [W · W, K], and what each is.

    ``least_area``: pixels of the smallest piece that can be a thing, a small one as far hidden as the world allows.
    """

    window: int
    covers: np.ndarray
    names: list[tuple[Shape, Size, float]]
    least_area: float


@lru_cache(maxsize=4)
def _outlines(side: int) -> _Outlines:
    window = 2 * (int(max(RADIUS.values()) * side * 1.3) + 2)
    names: list[tuple[Shape, Size, float]] = [
        (shape, size, turn)
        for size in SIZES
        for shape in SHAPES
        for turn in (_TURNS if shape not in ("circle", "ring") else (0.0,))
    ]
    middle = window // 2
    found = masks(window, [(shape, middle, middle, RADIUS[size] * side, turn) for shape, size, turn in names])
    covers = np.stack([mask.ravel() for mask in found], axis=1).astype(np.float32)
    return _Outlines(window, covers, names, least_area=_LEAST * LEAST_VISIBLE * float(covers.sum(0).min()))


def _explain(piece: Mask, others: Mask) -> list[_Fit]:
    """The one thing, or the two that touch, that a piece of one paint shows."""
    one = _best(piece, others, whole=True)
    if one.overlap > _PLAIN:
        return [one]
    # Of two things in one piece, the first is an outline that lies inside it, whatever it leaves over.
    first = _best(piece, others, whole=False)
    rest = piece & ~ndimage.binary_dilation(first.covers)
    left, count = ndimage.label(rest)
    if count:
        largest = left == 1 + int(np.argmax(np.bincount(left.ravel())[1:]))
        if largest.sum() >= _outlines(piece.shape[0]).least_area:
            second = _best(largest, others | first.covers, whole=True)
            both = first.covers | second.covers
            together = float((piece & both).sum() / (piece | (both & ~others)).sum())
            if together > one.overlap + _SPLIT:
                return [first, second]
    return [one]


def _best(piece: Mask, others: Mask, *, whole: bool) -> _Fit:
    """The outline that overlaps best with the ``whole`` piece, or else the one that lies inside it best."""
    side, outlines = piece.shape[0], _outlines(piece.shape[0])
    window = outlines.window
    # A part can lie further from the piece's middle; there every other place is enough.
    step = 1 if whole else 2
    reach = max(1, round((_REACH if whole else 2.5 * _REACH) * side / 64)) // step * step
    rows, columns = np.nonzero(piece)
    x, y = (round((values.min() + values.max() + 1) / 2) for values in (columns, rows))
    margin = window // 2 + reach
    around = [
        np.pad(each.astype(np.float32), margin)[y : y + 2 * margin, x : x + 2 * margin] for each in (piece, ~others)
    ]
    shifts = 2 * reach // step + 1
    inside, seen = (
        sliding_window_view(each, (window, window))[::step, ::step][:shifts, :shifts].reshape(shifts * shifts, -1)
        @ outlines.covers
        for each in around
    )
    area = float(piece.sum())
    score = inside / (area + seen - inside) if whole else inside - 3 * (seen - inside)
    shift, number = np.unravel_index(int(score.argmax()), score.shape)
    shape, size, turn = outlines.names[number]
    down, right = divmod(int(shift), shifts)
    x, y = x + step * right - reach, y + step * down - reach
    covers = masks(side, [(shape, x, y, RADIUS[size] * side, turn)])[0]
    overlap = float(inside[shift, number] / (area + seen[shift, number] - inside[shift, number]))
    return _Fit(shape, size, x, y, turn, overlap, covers)
