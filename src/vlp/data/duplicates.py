"""Pictures that are nearly the same, among a million, in colour.

Two pictures are first compared by their 8×8 RGB thumbnails: the root mean square of the difference, on the 8-bit
scale, after the best small shift of one against the other is taken out (one step of Lucas and Kanade 1981, An
iterative image registration technique). A shift beyond what a thumbnail can undo still leaves sharpness,
contrast and saturation as they were; where all three agree, a larger distance is allowed.

That alone would make one of two pages of text, or of a red and a blue ball on one ground. What is near so far must
therefore agree in every place of thumbnails of 32×32 too (``same_details``).

A grey-scale perceptual hash would be quicker and wrong: pictures that differ in colour only would be one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

SIDE = 8
DETAILS_SIDE = 32
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

_DETAILS_AT_ONCE = 1 << 6
_LUMA_PATCH, _CHROMA_PATCH, _STEP = 8, 6, 2  # pixels of 32: sides of the parts that are compared, and their steps
_PIXEL, _STRETCH, _GAIN = 1.0, 0.7, 0.1  # of 32 pixels, the most shift, and the most of the edges; the most gain
_FLAT = 3.0  # levels of difference that count as none where a picture is flat
_MOST_LUMA, _MOST_OF_BOTH, _MOST_CHROMA_LEVELS = 0.30, 0.66, 12.0
_CHROMA_WEIGHT = 0.25  # JPEG leaves little of the chroma
_LUMA_CHROMA = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]]).T


def near_pairs(
    thumbnails: np.ndarray,
    details: np.ndarray,
    appearances: np.ndarray,
    distance: float,
    rows: np.ndarray | None = None,
) -> list[tuple[int, int, float]]:
    """Every pair of near duplicates, as (earlier place, later place, distance), sorted.

    Memory grows by some 60 bytes a row; thumbnails that are mapped from a file are read a block at a time, details
    only of pairs whose thumbnails are near.

    Args:
        thumbnails: uint8 [N, 192], ``Measured.thumbnail``.
        details: uint8 [N, 3072], ``Measured.details``.
        appearances: float [N, 3], sharpness, contrast and saturation.
        distance: the largest distance of near duplicates, on the 8-bit scale.
        rows: those to look at, in any order; None for all. Pairs are numbered by their place in it.
    """
    rows = np.arange(len(thumbnails)) if rows is None else rows
    if len(rows) < 2:
        return []
    leaders, means = _leaders(thumbnails, rows)
    _part_leaders(details, rows, leaders)
    found = [
        (int(leaders[at]), int(at), 0.0) for at in np.flatnonzero(leaders != np.arange(len(rows))) if leaders[at] >= 0
    ]
    distinct = np.unique(leaders[leaders >= 0])
    looks = np.log1p(appearances[rows[distinct]])
    pairs = _candidates(thumbnails, rows[distinct], looks, means[distinct], distance)
    for start in range(0, len(pairs), _ROWS_AT_ONCE):
        one, two = pairs[start : start + _ROWS_AT_ONCE].T
        apart = shifted_distance(thumbnails[rows[distinct[one]]], thumbnails[rows[distinct[two]]])
        alike = (np.abs(looks[one] - looks[two]) <= _SAME_APPEARANCE).all(axis=1)
        near = np.flatnonzero(apart <= np.where(alike, _SHIFTED * distance, distance))
        near = near[_same(details, rows[distinct[one[near]]], rows[distinct[two[near]]])]
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


def _part_leaders(details: np.ndarray, rows: np.ndarray, leaders: np.ndarray) -> None:
    """Give places that are another picture than their leader, by ``details``, another leader, in place.

    The first of them leads the others, and so on. Where more than ``LOOK_ALIKES`` different pictures have one
    thumbnail, the rest of them is compared with nothing: -1.
    """
    led = np.flatnonzero(leaders != np.arange(len(leaders)))
    for _ in range(LOOK_ALIKES):
        led = led[~_same(details, rows[leaders[led]], rows[led])]
        if not len(led):
            return
        _, first, which = np.unique(leaders[led], return_index=True, return_inverse=True)
        leaders[led] = led[first][which]
        led = led[leaders[led] != led]
    leaders[led] = -1


def _same(details: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """``same_details`` of pairs of rows, some at a time."""
    found = np.empty(len(one), bool)
    for start in range(0, len(one), _DETAILS_AT_ONCE):
        part = slice(start, start + _DETAILS_AT_ONCE)
        left, right = details[one[part]], details[two[part]]
        found[part] = same = (left == right).all(axis=1)
        if not same.all():
            found[start + np.flatnonzero(~same)] = same_details(left[~same], right[~same])
    return found


def same_details(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Whether N pairs of thumbnails of 32×32 are one picture in every place.

    The best shift, of whole pixels and of parts of one, is taken out, and a little stretch, brightness and gain. What
    is left in each patch is held against how much the two pictures vary there: encoding a picture anew leaves a share
    of it, another thing leaves all of it and more. Chroma is allowed more, as JPEG keeps little of it, but not in
    levels. The outermost two pixels are not compared.

    Measured at 64 pixels, of pairs whose 8×8 thumbnails are near; allowed are a luma of 0.30, 0.66 with a quarter of
    the chroma, and 12 levels of chroma. One picture made anew (scenes, photographs, pages, charts, plain balls) has

    * 0.10 after JPEG of quality 30, half or a quarter of the size; 0.28 encoded at 64 pixels with a quality of 40;
    * 0.21 shifted by a pixel; 0.25 less 1 % at each edge, or 4 levels brighter; 9.7 levels of chroma at most;
    * not always enough: 3 of 149 scenes encoded at 64 pixels with a quality of 30, of which colour is lost; 1 of 36
      photographs shifted both ways; 1 of 97 whose white is clipped; pages of text less 2 % at each edge (0.43).

    Another picture exceeds one of them: pages of text have a luma of 0.48 and more (0.39 where they fill the picture);
    small balls elsewhere or of another colour 0.70 of both and more, on a ground of many colours 17.6 levels. What
    stays one: a thing on a plain ground that lies within some 2 pixels, as a shifted picture's does; in 1 of 100 pairs
    two curves of one frame that run alike; and a part of 8 pixels of a photograph that is poorer than what is around.

    Args:
        one: uint8 [N, 3072].
        two: uint8 [N, 3072].

    Returns:
        bool [N].
    """
    luma, chroma, levels = local_differences(one, two)
    both = luma + _CHROMA_WEIGHT * chroma
    return np.asarray((luma <= _MOST_LUMA) & (both <= _MOST_OF_BOTH) & (levels <= _MOST_CHROMA_LEVELS))


def local_differences(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The largest differences of N pairs of thumbnails of 32×32 in one place, as ``same_details`` judges them.

    Returns:
        Of the luma and of the chroma the share of the variance, and of the chroma the root mean square in levels
        of 255: float64 [N] each.
    """
    left, right, moved = _best_whole_shift(
        *(side.reshape(-1, DETAILS_SIDE, DETAILS_SIDE, 3).astype(float) for side in (one, two))
    )
    left, right = _smooth(left), _smooth(right)
    three = [each @ _LUMA_CHROMA for each in (left, right, _unexplained(left, right, moved))]
    luma, _ = _by_patch(_LUMA_PATCH, *(each[..., :1] for each in three))
    chroma, levels = _by_patch(_CHROMA_PATCH, *(_smooth(each[..., 1:]) for each in three))
    return luma, chroma, levels


def _best_whole_shift(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inner 30×30 of ``left``, of ``right`` what is most like it up to a pixel away, and how far that is.

    Returns:
        [N, 30, 30, 3] twice, and [N, 2]: pixels to the right and down.
    """
    inner = left[:, 1:-1, 1:-1]
    best, least, moves = right[:, 1:-1, 1:-1].copy(), np.full(len(left), np.inf), np.zeros((len(left), 2))
    for down, across in sorted(np.ndindex(3, 3), key=lambda at: (abs(at[0] - 1) + abs(at[1] - 1), at)):
        moved = right[:, down : down + inner.shape[1], across : across + inner.shape[2]]
        difference = inner - moved
        difference -= difference.mean(axis=(1, 2), keepdims=True)
        error = (difference * difference).sum(axis=(1, 2, 3))
        better = error < least
        least[better], best[better], moves[better] = error[better], moved[better], (across - 1, down - 1)
    return inner, best, moves


def _unexplained(left: np.ndarray, right: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """The difference [N, S, S, 3] less what a small shift, stretch, brightness and gain make of it (least squares).

    Args:
        left: pictures.
        right: pictures that were moved already.
        moved: [N, 2], by how many pixels right and down.
    """
    middle = (left + right) / 2
    down, across = (np.asarray(np.gradient(middle, axis=axis)) for axis in (1, 2))
    place = np.linspace(-1, 1, middle.shape[1])[:, None]
    contrast = middle - middle.mean(axis=(1, 2), keepdims=True)
    ways = np.stack([across, down, across * place, down * place[:, None], contrast], axis=1)
    ways = ways.reshape(len(left), 5, -1)
    difference = left - right
    difference -= difference.mean(axis=(1, 2), keepdims=True)
    flat = difference.reshape(len(left), -1)
    normal = np.einsum("nip,njp->nij", ways, ways) + 100 * np.eye(5)  # a ridge, as in shifted_distance
    amounts = np.linalg.solve(normal, np.einsum("nip,np->ni", ways, flat)[..., None])[..., 0]
    least = np.tile(np.array([-_PIXEL, -_PIXEL, -_STRETCH, -_STRETCH, -_GAIN]), (len(left), 1))
    most = -least
    least[:, :2] -= moved  # both shifts together are no farther than _PIXEL
    most[:, :2] -= moved
    rest = flat - np.einsum("nip,ni->np", ways, np.clip(amounts, least, most))
    return np.asarray(rest.reshape(left.shape))


def _smooth(pictures: np.ndarray) -> np.ndarray:
    """Each pixel of [N, S, S, C] with a half of its neighbours, 1-2-1 both ways."""
    wide = np.pad(pictures, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4
    return np.asarray((rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4)


def _by_patch(side: int, left: np.ndarray, right: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest share of the variance that ``rest`` is in a patch, and the largest root mean square."""
    energy = _patches((rest * rest).sum(axis=3, keepdims=True), side)[..., 0]
    variance = np.zeros_like(energy)
    for each in (left, right):
        variance += (_patches(each * each, side) - _patches(each, side) ** 2).sum(axis=3) / 2
    share = energy / (np.maximum(variance, 0) + _FLAT * _FLAT)
    return share.max(axis=(1, 2)), np.sqrt(energy.max(axis=(1, 2)))


def _patches(values: np.ndarray, side: int) -> np.ndarray:
    """Means of the patches of [N, S, S, C], less its outermost pixels: no gradient is known there."""
    values = values[:, 1:-1, 1:-1]
    sums = np.pad(values, ((0, 0), (1, 0), (1, 0), (0, 0))).cumsum(axis=1).cumsum(axis=2)
    start = np.arange(0, values.shape[1] - side + 1, _STEP)
    rows = sums[:, start + side] - sums[:, start]
    return np.asarray((rows[:, :, start + side] - rows[:, :, start]) / side**2)


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
