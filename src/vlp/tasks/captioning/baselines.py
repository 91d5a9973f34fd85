"""Captions that no decoder wrote: what must be beaten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from vlp.data.loading import Examples
from vlp.evaluation import nearest


def most_common(train: Examples) -> str:
    """The caption that most training images have; of equally frequent ones the first by letters."""
    counts = Counter(text for row in range(len(train)) for text in set(captions(train, row)))
    return min(counts, key=lambda text: (-counts[text], text))


def of_nearest(
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
    rows = nearest.evenly(captioned, most)
    places = nearest.nearest(embed(test, np.arange(len(test))), embed(train, rows))
    return [captions(train, int(row))[0] for row in rows[places]]


def colours(examples: Examples, rows: np.ndarray) -> np.ndarray:
    """Histograms of the images' colours, float64 [n, 64]."""
    return nearest.colours_of(lambda some: examples.images(some).numpy(), rows)


def captions(examples: Examples, row: int) -> list[str]:
    """The captions of one row, as text."""
    return [str(entry["text"]) for entry in examples.values("captions", row)]
