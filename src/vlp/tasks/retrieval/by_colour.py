"""Retrieval without a model: what colours and shared words alone would find.

A text's picture is guessed from the training images whose texts share most with it, rare words counting most; what is
compared is the histogram of colours. That is the floor which a model that sees shapes and reads sentences has to beat.
"""

from __future__ import annotations

import numpy as np

from vlp.data.loading import Examples, TokenIds
from vlp.evaluation.nearest import colour_histograms, evenly, unit
from vlp.tasks.retrieval.candidates import Candidates, captions

MOST = 2000
"""Training images that are known."""
NEIGHBOURS = 3
"""Training images that a text's picture is guessed from."""


def similarity(train: Examples, test: Examples, found: Candidates, vocabulary_size: int) -> np.ndarray:
    """Cosine of each image's colours and those of the training images that each text reminds of: float64 [N, T].

    Args:
        train: what is known, images and texts.
        test: the split of the candidates.
        found: N images and T texts.
        vocabulary_size: of the tokenizer.
    """
    rows = evenly(np.array([row for row in range(len(train)) if captions(train, row)]), MOST)
    known = _words([captions(train, row) for row in rows.tolist()], vocabulary_size)
    rarity = np.log((1 + len(known)) / (1 + known.sum(0)))
    shared = unit(_words(found.texts, vocabulary_size) * rarity) @ unit(known * rarity).T
    colours = colour_histograms(train.images(rows.tolist()).numpy())
    near = np.argsort(-shared, axis=1, kind="stable")[:, :NEIGHBOURS]
    shown = colour_histograms(test.images(found.rows.tolist()).numpy())
    return np.asarray(unit(shown - colours.mean(0)) @ unit(colours[near].mean(1) - colours.mean(0)).T)


def _words(texts: list[list[TokenIds]], vocabulary_size: int) -> np.ndarray:
    """Which tokens each description has, float64 [n, V]."""
    found = np.zeros((len(texts), vocabulary_size))
    for place, parts in enumerate(texts):
        found[place, np.concatenate(parts)] = 1.0
    return found
