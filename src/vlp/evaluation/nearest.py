"""The nearest neighbour among training images: what must be beaten where a picture is looked at at all.

Pure functions of arrays; the embedding may be a network's, or a histogram of colours that knows no shapes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LEVELS = 4
"""Of each of red, green and blue that a histogram tells apart."""
_IMAGES_AT_ONCE, _ASKED_AT_ONCE = 256, 1024  # bound memory, not the result


def colour_histograms(images: np.ndarray) -> np.ndarray:
    """Share of each image's pixels in each of 4 × 4 × 4 boxes of RGB (Swain & Ballard 1991, Color indexing).

    Args:
        images: uint8 [n, S, S, 3], n at least 1.

    Returns:
        float64 [n, 64].
    """
    boxes = images // (256 // LEVELS)
    codes = (boxes @ np.array([LEVELS**2, LEVELS, 1], np.uint8)).reshape(len(images), -1)
    return np.stack([np.bincount(each, minlength=LEVELS**3) for each in codes]) / codes.shape[1]


def evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of ``rows``, evenly spread and in their order."""
    if len(rows) <= most:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)])


def colours_of(images: Callable[[list[int]], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Histograms of the images of those rows, float64 [n, 64]; no more than some of the images are held at once.

    Args:
        images: rows → uint8 [n, S, S, 3].
        rows: int64 [n].
    """
    some = [rows[start : start + _IMAGES_AT_ONCE].tolist() for start in range(0, len(rows), _IMAGES_AT_ONCE)]
    return np.concatenate([colour_histograms(images(each)) for each in some] or [np.empty((0, LEVELS**3))])


def nearest(asked: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of ``known`` [K, D] is nearest each of ``asked`` [Q, D] by cosine about the mean of ``known``: int64 [Q].

    What all images have in common says nothing of which are alike. Of equally near ones the first.
    """
    mean = known.mean(0)
    directions = unit(known - mean).T
    some = [asked[start : start + _ASKED_AT_ONCE] for start in range(0, len(asked), _ASKED_AT_ONCE)]
    return np.concatenate([(unit(each - mean) @ directions).argmax(1) for each in some] or [np.empty(0, np.int64)])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Each row [n, D] at length 1; a row of zeros stays."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
