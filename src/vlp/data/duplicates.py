"""Pictures that are nearly the same, among a million, in colour.

Two pictures are compared by their 8×8 RGB thumbnails: the root mean square of the difference, on the 8-bit
scale, after the best small shift of one against the other is taken out (one step of Lucas and Kanade 1981, An
iterative image registration technique). A shift beyond what a thumbnail can undo still leaves sharpness,
contrast and saturation as they were; where all three agree, a larger distance is allowed.

A grey-scale perceptual hash would be quicker and wrong: pictures that differ in colour only would be one.
"""

from __future__ import annotations

import numpy as np

SIDE = 8
LOOK_ALIKES = 32
"""Candidates examined for each picture: the nearest ones. It keeps a million copies of one picture linear."""

_MOST_SHIFT = 0.25  # of a thumbnail's pixel: two pixels of a picture of 64
_SHIFTED = 1.75  # how much farther two pictures of one appearance may lie
_RAW, _RAW_SHIFTED = 1.1, 1.3  # how much farther thumbnails lie before the shift is taken out than after
_SAME_APPEARANCE = np.array([0.12, 0.03, 0.008])  # differences of logarithms: sharpness, contrast, saturation
_ROWS_AT_ONCE = 1 << 14
# The tree passes over branches farther than 1/(1 + _HASTE) of the radius. It is a sixth of the time, and costs a
# pair only where most of its difference lies along the tree's few cuts: 3 in 1,000 of the pairs at the very edge.
_HASTE = 1.0


def near_pairs(thumbnails: np.ndarray, appearances: np.ndarray, distance: float) -> list[tuple[int, int, float]]:
    """Every pair of near duplicates, as (earlier row, later row, distance), sorted.

    Args:
        thumbnails: uint8 [N, 192], ``Measured.thumbnail``.
        appearances: float [N, 3], sharpness, contrast and saturation.
        distance: the largest distance of near duplicates, on the 8-bit scale.
    """
    if len(thumbnails) < 2:
        return []
    # Equal thumbnails would be one crowded spot in the tree: the first of them stands for all.
    rows = np.ascontiguousarray(thumbnails).view(np.dtype((np.void, thumbnails.shape[1]))).ravel()
    _, first, which = np.unique(rows, return_index=True, return_inverse=True)
    leaders = first[which]
    equal = np.flatnonzero(leaders != np.arange(len(rows)))
    found = [(int(leaders[row]), int(row), 0.0) for row in equal]
    distinct = np.sort(first)
    looks = np.log1p(appearances[distinct])
    for one, two in _candidates(thumbnails[distinct], looks, distance):
        apart = shifted_distance(thumbnails[distinct[one]], thumbnails[distinct[two]])
        alike = (np.abs(looks[one] - looks[two]) <= _SAME_APPEARANCE).all(axis=1)
        near = apart <= np.where(alike, _SHIFTED * distance, distance)
        for a, b, away in zip(distinct[one[near]], distinct[two[near]], apart[near], strict=True):
            found.append((int(min(a, b)), int(max(a, b)), float(away)))
    return sorted(found)


def shifted_distance(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Distances of N pairs of thumbnails, the best small shift taken out.

    Args:
        one: uint8 [N, 192].
        two: uint8 [N, 192].

    Returns:
        float64 [N], levels of 255.
    """
    left, right = (side.reshape(-1, SIDE, SIDE, 3).astype(np.float64) for side in (one, two))
    middle = (left + right) / 2
    down, across = (np.asarray(np.gradient(middle, axis=axis)) for axis in (1, 2))
    difference = left - right
    # A touch of ridge: a picture that changes in one direction only does not tell how it moved in the other.
    xx, yy, xy = _dot(across, across) + 1, _dot(down, down) + 1, _dot(across, down)
    dx, dy = _dot(difference, across), _dot(difference, down)
    determinant = xx * yy - xy * xy  # two unknowns of least squares, by Cramer's rule
    by_x = np.clip((dx * yy - dy * xy) / determinant, -_MOST_SHIFT, _MOST_SHIFT)
    by_y = np.clip((dy * xx - dx * xy) / determinant, -_MOST_SHIFT, _MOST_SHIFT)
    rest = difference - by_x * across - by_y * down
    return np.asarray(np.sqrt((rest * rest).mean(axis=(1, 2, 3))))


def _dot(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Inner products of N pictures [N, 8, 8, 3], as [N, 1, 1, 1]."""
    return np.asarray((one * two).sum(axis=(1, 2, 3), keepdims=True))


def _candidates(thumbnails: np.ndarray, looks: np.ndarray, distance: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows that may be near, in chunks: two searches, for what is near and for what is shifted."""
    # Sums over quarters, scaled to be orthonormal: never farther apart than the thumbnails themselves.
    quarters = thumbnails.reshape(-1, 2, SIDE // 2, 2, SIDE // 2, 3).sum(axis=(2, 4), dtype=np.float64)
    points = quarters.reshape(len(thumbnails), -1) / (SIDE // 2)
    reach = distance * np.sqrt(thumbnails.shape[1])
    # In the second search each axis is scaled so that 1 is as far as it may be.
    shifted = np.hstack([points / (reach * _SHIFTED * _RAW_SHIFTED), looks / _SAME_APPEARANCE])
    pairs = np.vstack([_neighbours(points, reach * _RAW, 2, _HASTE), _neighbours(shifted, 1.0, np.inf, 0.0)])
    pairs = np.unique(pairs, axis=0)
    return [
        (chunk[:, 0], chunk[:, 1])
        for chunk in np.array_split(pairs, max(1, -(-len(pairs) // _ROWS_AT_ONCE)))
        if len(chunk)
    ]


def _neighbours(points: np.ndarray, radius: float, norm: float, haste: float) -> np.ndarray:
    """Pairs (lower row, higher row) [M, 2] of each point with its nearest ones inside ``radius``."""
    from scipy.spatial import cKDTree

    tree, found = cKDTree(points), [np.empty((0, 2), np.int64)]
    count, bound = min(LOOK_ALIKES + 1, len(points)), radius * (1 + 1e-9)
    for start in range(0, len(points), _ROWS_AT_ONCE):
        some = points[start : start + _ROWS_AT_ONCE]
        _, nearest = tree.query(some, k=count, eps=haste, p=norm, distance_upper_bound=bound, workers=-1)
        rows, others = np.repeat(np.arange(start, start + len(some)), count), nearest.ravel()
        real = (others < len(points)) & (others != rows)
        found.append(np.sort(np.stack([rows[real], others[real]], axis=1), axis=1))
    return np.concatenate(found)
