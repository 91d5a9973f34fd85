"""The nearest neighbour among training images: what must be beaten where a picture is looked at at all.

Pure functions of arrays; the embedding may be a network's, or a histogram of colours that knows no shapes.
"""

from __future__ import annotations

import numpy as np

LEVELS = 4
"""Of each of red, green and blue that a histogram tells apart."""


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


def cosines(asked: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Cosine of each of ``asked`` [Q, D] and each of ``known`` [K, D], both about the mean of ``known``: [Q, K].

    What all images have in common says nothing of which are alike.
    """
    mean = known.mean(0)
    return np.asarray(unit(asked - mean) @ unit(known - mean).T)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Each row [n, D] at length 1; a row of zeros stays."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
