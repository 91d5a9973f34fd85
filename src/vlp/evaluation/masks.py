"""Measures of binary masks against their targets, one value a mask.

All take ``found`` and ``target``, bool [N, S, S].
"""

from __future__ import annotations

import math

import numpy as np

THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.05), 2)


def iou(found: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Intersection over union, float64 [N]; two empty masks agree.

    Its mean over the masks is the mIoU of referring segmentation.
    Source: Yu et al., Modeling context in referring expressions (2016), https://arxiv.org/abs/1608.00272
    """
    both, either = (found & target).sum((1, 2)), (found | target).sum((1, 2))
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def pixel_accuracy(found: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Share of the pixels on the right side, background included, float64 [N]."""
    return np.asarray((found == target).mean((1, 2)))


def boundary_f1(found: np.ndarray, target: np.ndarray, tolerance: float | None = None) -> np.ndarray:
    """F1 of the two outlines, float64 [N]: precision is the share of the found outline that has a pixel of the true
    one within the tolerance, recall the reverse. Two masks without an outline agree.

    An outline is the pixels of a mask that have one of their four neighbours outside; beyond the picture is outside.

    Source: Csurka et al., What is a good evaluation measure for semantic segmentation? (2013),
    https://doi.org/10.5244/C.27.32, whose tolerance is 0.75 % of the diagonal; in pictures so small that this is less
    than a pixel, it is one.

    Args:
        found: masks.
        target: what they should be.
        tolerance: pixels.
    """
    if tolerance is None:
        tolerance = max(1.0, 0.0075 * math.hypot(*found.shape[1:]))
    one, two = outline(found), outline(target)
    hits = (one & _within(two, tolerance)).sum((1, 2)), (two & _within(one, tolerance)).sum((1, 2))
    sizes = one.sum((1, 2)), two.sum((1, 2))
    precision, recall = (hit / np.maximum(size, 1) for hit, size in zip(hits, sizes, strict=True))
    found_f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return np.where(sizes[0] + sizes[1] > 0, found_f1, 1.0)


def outline(masks: np.ndarray) -> np.ndarray:
    """The pixels of each mask that have one of their four neighbours outside it, bool [N, S, S]."""
    inside = np.ones_like(masks)
    for rows, columns in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        inside &= _shifted(masks, rows, columns)
    return np.asarray(masks & ~inside)


def threshold_scores(probabilities: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``iou`` at each of ``THRESHOLDS``: float64 [N, K] of probabilities [N, S, S]."""
    return np.stack([iou(probabilities >= threshold, target) for threshold in THRESHOLDS], axis=1)


def salient(images: np.ndarray) -> np.ndarray:
    """Masks of what stands out from the picture's rim, by colour and without any training, bool [N, S, S].

    Each pixel's distance to the rim's median colour, cut in two by Otsu's threshold: where the classes of near and
    of far pixels are furthest apart. What a model that listens to its text has to beat.

    Source: Otsu, A threshold selection method from gray-level histograms (1979),
    https://doi.org/10.1109/TSMC.1979.4310076

    Args:
        images: uint8 [N, S, S, 3].
    """
    found = np.empty(images.shape[:3], bool)
    for number, image in enumerate(images.astype(np.float64)):
        rim = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
        distance = np.sqrt(((image - np.median(rim, axis=0)) ** 2).sum(-1))
        found[number] = distance > _otsu(distance)
    return found


def _otsu(values: np.ndarray) -> float:
    counts, edges = np.histogram(values, bins=64)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = counts.sum() - below
    sums = np.cumsum(counts * middles)
    gap = sums[:-1] / np.maximum(below, 1) - (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1 + int(np.argmax(below * above * gap**2))])


def _within(masks: np.ndarray, distance: float) -> np.ndarray:
    """The pixels that have one of the mask's within ``distance``."""
    reach = int(distance)
    found = np.zeros_like(masks)
    for rows in range(-reach, reach + 1):
        for columns in range(-reach, reach + 1):
            if math.hypot(rows, columns) <= distance:
                found |= _shifted(masks, rows, columns)
    return found


def _shifted(masks: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The masks moved down and right by so many pixels, False coming in."""
    height, width = masks.shape[1:]
    moved = np.zeros_like(masks)
    moved[:, max(rows, 0) : height + min(rows, 0), max(columns, 0) : width + min(columns, 0)] = masks[
        :, max(-rows, 0) : height + min(-rows, 0), max(-columns, 0) : width + min(-columns, 0)
    ]
    return moved
