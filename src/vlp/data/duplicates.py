"""Pictures that are nearly the same, among a million, in colour.

Two pictures are compared by their 8×8 RGB thumbnails: the root mean square of the difference, on the 8-bit
scale, after the best small shift of one against the other is taken out (one step of Lucas and Kanade 1981, An
iterative image registration technique). A shift beyond what a thumbnail can undo still leaves sharpness,
contrast and saturation as they were; where all three agree, a larger distance is allowed.

A grey-scale perceptual hash would be quicker and wrong: pictures that differ in colour only would be one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

SIDE = 8
LOOK_ALIKES = 32
"""Candidates examined for each picture: the nearest ones. It keeps a million copies of one picture linear."""

BLOCK = 1 << 17
"""Pictures that are searched at once: more are cut into blocks, so that no tree holds all of them."""

_MOST_SHIFT = 0.25  # of a thumbnail's pixel: two pixels of a picture of 64
_SHIFTED = 1.75  # how much farther two pictures of one appearance may lie
_RAW, _RAW_SHIFTED = 1.1, 1.3  # how much farther thumbnails lie before the shift is taken out than after
_SAME_APPEARANCE = np.array([0.12, 0.03, 0.008])  # differences of logarithms: sharpness, contrast, saturation
_ROWS_AT_ONCE = 1 << 14
# The tree passes over branches farther than 1/(1 + _HASTE) of the radius. It is a sixth of the time, and costs a
# pair only where most of its difference lies along the tree's few cuts: 3 in 1,000 of the pairs at the very edge.
_HASTE = 1.0


def near_pairs(
    thumbnails: np.ndarray, appearances: np.ndarray, distance: float, rows: np.ndarray | None = None
) -> list[tuple[int, int, float]]:
    """Every pair of near duplicates, as (earlier place, later place, distance), sorted.

    Memory grows by some 60 bytes a row; thumbnails that are mapped from a file are read a block at a time.

    Args:
        thumbnails: uint8 [N, 192], ``Measured.thumbnail``.
        appearances: float [N, 3], sharpness, contrast and saturation.
        distance: the largest distance of near duplicates, on the 8-bit scale.
        rows: those to look at, in any order; None for all. Pairs are numbered by their place in it.
    """
    rows = np.arange(len(thumbnails)) if rows is None else rows
    if len(rows) < 2:
        return []
    leaders, means = _leaders(thumbnails, rows)
    found = [(int(leaders[at]), int(at), 0.0) for at in np.flatnonzero(leaders != np.arange(len(rows)))]
    distinct = np.unique(leaders)
    looks = np.log1p(appearances[rows[distinct]])
    pairs = _candidates(thumbnails, rows[distinct], looks, means[distinct], distance)
    for start in range(0, len(pairs), _ROWS_AT_ONCE):
        one, two = pairs[start : start + _ROWS_AT_ONCE].T
        apart = shifted_distance(thumbnails[rows[distinct[one]]], thumbnails[rows[distinct[two]]])
        alike = (np.abs(looks[one] - looks[two]) <= _SAME_APPEARANCE).all(axis=1)
        near = apart <= np.where(alike, _SHIFTED * distance, distance)
        for a, b, away in zip(distinct[one[near]], distinct[two[near]], apart[near], strict=True):
            found.append((int(min(a, b)), int(max(a, b)), float(away)))
    return sorted(found)


def crowded(pairs: Sequence[tuple[int, int, float]]) -> bool:
    """Whether a picture has so many look-alikes that ``near_pairs`` may not have found all of them."""
    ends = np.array([(one, other) for one, other, away in pairs if away], np.int64).ravel()
    return bool(len(ends)) and int(np.bincount(ends).max()) >= LOOK_ALIKES // 2


def _leaders(thumbnails: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``rows`` the first place with an equal thumbnail, and the thumbnail's mean.

    Equal thumbnails would be one crowded spot in a tree: the first of them stands for all.
    """
    hashes, means = np.empty(len(rows), np.dtype((np.void, 16))), np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = np.ascontiguousarray(thumbnails[rows[start : start + _ROWS_AT_ONCE]])
        digests = b"".join(hashlib.blake2b(row, digest_size=16).digest() for row in some)
        hashes[start : start + len(some)] = np.frombuffer(digests, hashes.dtype)
        means[start : start + len(some)] = some.mean(axis=1)
    _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    return first[which], means


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


def _candidates(
    thumbnails: np.ndarray, rows: np.ndarray, looks: np.ndarray, means: np.ndarray, distance: float
) -> np.ndarray:
    """Pairs of places in ``rows`` that may be near: two searches, for what is near and for what is shifted."""
    reach = distance * np.sqrt(thumbnails.shape[1])

    def quarters(places: np.ndarray) -> np.ndarray:
        # Sums over quarters, scaled to be orthonormal: never farther apart than the thumbnails themselves.
        parts = thumbnails[rows[places]].reshape(-1, 2, SIDE // 2, 2, SIDE // 2, 3)
        return parts.sum(axis=(2, 4), dtype=np.float64).reshape(len(places), -1) / (SIDE // 2)

    def shifted(places: np.ndarray) -> np.ndarray:
        # Each axis is scaled so that 1 is as far as it may be.
        return np.hstack([quarters(places) / (reach * _SHIFTED * _RAW_SHIFTED), looks[places] / _SAME_APPEARANCE])

    # What two pictures may differ by in the number that blocks are cut by: a mean differs by no more than the whole.
    near = _in_blocks(quarters, means, distance * _RAW, reach * _RAW, 2, _HASTE)
    same = _in_blocks(shifted, looks[:, 2], _SAME_APPEARANCE[2], 1.0, np.inf, 0.0)
    return np.unique(np.vstack([near, same]), axis=0)


def _in_blocks(
    points: Callable[[np.ndarray], np.ndarray], key: np.ndarray, margin: float, radius: float, norm: float, haste: float
) -> np.ndarray:
    """``_neighbours`` of all places, a block of similar ``key`` at a time with all that may be near it.

    Args:
        points: the points of some places.
        key: a number for each place.
        margin: how far the keys of neighbours can be apart.
        radius: as of ``_neighbours``.
        norm: as of ``_neighbours``.
        haste: as of ``_neighbours``.
    """
    if len(key) <= BLOCK:
        every = np.arange(len(key))
        return _neighbours(points(every), every, radius, norm, haste)
    order = np.argsort(key, kind="stable")
    sorted_keys, found = key[order], [np.empty((0, 2), np.int64)]
    margin = margin * (1 + 1e-6) + 1e-4  # of keys that are rounded
    for start in range(0, len(order), BLOCK):
        end = min(start + BLOCK, len(order))
        low = int(np.searchsorted(sorted_keys, sorted_keys[start] - margin, "left"))
        high = int(np.searchsorted(sorted_keys, sorted_keys[end - 1] + margin, "right"))
        places = order[low:high]
        pairs = _neighbours(points(places), np.arange(start - low, end - low), radius, norm, haste)
        found.append(np.sort(places[pairs], axis=1))
    return np.concatenate(found)


def _neighbours(points: np.ndarray, asked: np.ndarray, radius: float, norm: float, haste: float) -> np.ndarray:
    """Pairs (lower place, higher place) [M, 2] of each of ``asked`` with its nearest points inside ``radius``."""
    from scipy.spatial import cKDTree

    tree, found = cKDTree(points), [np.empty((0, 2), np.int64)]
    count, bound = min(LOOK_ALIKES + 1, len(points)), radius * (1 + 1e-9)
    for start in range(0, len(asked), _ROWS_AT_ONCE):
        some = asked[start : start + _ROWS_AT_ONCE]
        _, nearest = tree.query(points[some], k=count, eps=haste, p=norm, distance_upper_bound=bound, workers=-1)
        rows, others = np.repeat(some, count), nearest.ravel()
        real = (others < len(points)) & (others != rows)
        found.append(np.sort(np.stack([rows[real], others[real]], axis=1), axis=1))
    return np.concatenate(found)
