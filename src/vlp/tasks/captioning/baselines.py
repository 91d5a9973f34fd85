"""Captions that no decoder wrote: what must be beaten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from vlp.data.loading import Examples


def most_common(train: Examples) -> str:
    """The caption that most training images have; of equally frequent ones the first by letters."""
    counts = Counter(text for row in range(len(train)) for text in set(captions(train, row)))
    return min(counts, key=lambda text: (-counts[text], text))


def nearest(
    train: Examples, test: Examples, embed: Callable[[Examples, np.ndarray], np.ndarray], most: int
) -> list[str]:
    """For each test image the first caption of the training image whose embedding is nearest by cosine.

    Args:
        train: searched: at most ``most`` images of it, evenly spread.
        test: the queries.
        embed: rows of a split to vectors [n, D].
        most: training images that are embedded.
    """
    captioned = np.array([row for row in range(len(train)) if captions(train, row)])
    rows = captioned[np.unique(np.linspace(0, len(captioned) - 1, most).round().astype(np.int64))]
    known, asked = _unit(embed(train, rows)), _unit(embed(test, np.arange(len(test))))
    return [captions(train, int(rows[place]))[0] for place in (asked @ known.T).argmax(1)]


def colours(examples: Examples, rows: np.ndarray) -> np.ndarray:
    """Share of each image's pixels in each of 4 × 4 × 4 boxes of RGB: float64 [n, 64]. It knows no shapes."""
    boxes = examples.images(rows.tolist()).numpy().astype(np.int64) // 64
    codes = (boxes @ np.array([16, 4, 1])).reshape(len(rows), -1)
    return np.stack([np.bincount(each, minlength=64) for each in codes]) / codes.shape[1]


def captions(examples: Examples, row: int) -> list[str]:
    """The captions of one row, as text."""
    return [str(entry["text"]) for entry in examples.values("captions", row)]


def _unit(vectors: np.ndarray) -> np.ndarray:
    # About the mean: what all images have in common says nothing of which are alike.
    centred = vectors - vectors.mean(0)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))
