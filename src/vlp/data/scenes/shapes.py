"""The outlines of things as signed distances, on a small patch around each.

A signed distance (negative inside, in pixels) gives everything that is wanted of an outline: the exact
mask (below zero at the pixel's centre), an anti-aliased edge (half a pixel to each side of zero) and
shading towards the rim.

Source: I. Quilez, 2D distance functions, https://iquilezles.org/articles/distfunctions2d/
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Shape = Literal["circle", "square", "triangle", "star", "cross", "ring"]

Floats = NDArray[np.float32]

_REACH = 1.3
"""No outline is further than this many radii from its centre."""


def patch(side: int, x: int, y: int, radius: float) -> tuple[slice, slice]:
    """Rows and columns of a picture of ``side`` pixels that hold a thing at (``x``, ``y``) and its edge."""
    reach = math.ceil(radius * _REACH) + 1
    return slice(max(0, y - reach), min(side, y + reach)), slice(max(0, x - reach), min(side, x + reach))


def signed_distance(shape: Shape, rows: slice, columns: slice, x: int, y: int, radius: float, turn: float) -> Floats:
    """Distance in pixels to the outline, negative inside, at the centre of each pixel of a patch.

    Args:
        shape: one of the six.
        rows: rows of the patch, H of them.
        columns: its columns, W of them.
        x: column of the centre in pixels.
        y: row of the centre in pixels.
        radius: nominal radius in pixels; outlines are scaled to look equally large.
        turn: degrees clockwise.

    Returns:
        float32 [H, W].
    """
    v, u = _centres(rows.start, rows.stop)[:, None] - y, _centres(columns.start, columns.stop)[None, :] - x
    if shape in ("circle", "ring"):
        rho = np.sqrt(u * u + v * v)
        return rho - np.float32(radius) if shape == "circle" else np.abs(rho - 0.72 * radius) - np.float32(0.3 * radius)
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    u, v = u * cos + v * sin, v * cos - u * sin
    return _ANGULAR[shape](u, v, radius)


@lru_cache(maxsize=4096)
def _centres(start: int, stop: int) -> Floats:
    centres = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    centres.flags.writeable = False
    return centres


def _square(u: Floats, v: Floats, radius: float) -> Floats:
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(radius)


def _triangle(u: Floats, v: Floats, radius: float) -> Floats:
    v = v - np.float32(0.15 * radius)  # the centroid lies low; lift the outline's middle to the centre
    inner = np.float32(0.62 * radius)
    return np.maximum(v, np.abs(u) * np.float32(math.sqrt(3) / 2) - v / 2) - inner


def _cross(u: Floats, v: Floats, radius: float) -> Floats:
    u, v = np.abs(u), np.abs(v)
    long, wide = np.float32(1.05 * radius), np.float32(0.36 * radius)
    return np.minimum(np.maximum(u - long, v - wide), np.maximum(u - wide, v - long))


def _star(u: Floats, v: Floats, radius: float) -> Floats:
    """Five points: each tenth of the circle is folded onto one edge, from a tip to a notch."""
    tenth = np.float32(math.pi / 5)
    angle: Floats = np.arctan2(u, -v)
    folded: Floats = np.abs((angle + tenth) % (tenth + tenth) - tenth)
    rho = np.sqrt(u * u + v * v)
    tip, notch = 1.25 * radius, 0.52 * radius
    edge_u, edge_v = notch * math.cos(tenth) - tip, notch * math.sin(tenth)
    length = math.hypot(edge_u, edge_v)
    normal_u, normal_v = np.float32(edge_v / length), np.float32(-edge_u / length)
    distance = (rho * np.cos(folded) - np.float32(tip)) * normal_u + rho * np.sin(folded) * normal_v
    return distance.astype(np.float32, copy=False)


_ANGULAR = {"square": _square, "triangle": _triangle, "cross": _cross, "star": _star}


def masks(side: int, outlines: list[tuple[Shape, int, int, float, float]]) -> list[NDArray[np.bool_]]:
    """For each outline (shape, x, y, radius, turn), bool [S, S]: the pixels whose centre lies inside."""
    found = []
    for shape, x, y, radius, turn in outlines:
        mask = np.zeros((side, side), dtype=bool)
        rows, columns = patch(side, x, y, radius)
        mask[rows, columns] = signed_distance(shape, rows, columns, x, y, radius, turn) < 0
        found.append(mask)
    return found
