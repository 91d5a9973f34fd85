"""Retrieval without a model: what colours and shared words alone would find.

A text's picture is guessed from the training images whose texts share most with it, rare words counting most; what is
compared is the histogram of colours. That is the floor which a model that sees shapes and reads sentences has to beat.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import norm

from vlp.data.loading import Examples, TokenIds
from vlp.evaluation.nearest import colours_of, evenly, unit
from vlp.tasks.retrieval.candidates import Candidates, captions

MOST = 2000
"""Training images that are known."""
NEIGHBOURS = 3
"""Training images that a text's picture is guessed from."""
_AT_ONCE = 1024  # texts: bounds memory, not the result


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
    rarity = np.log((1 + known.shape[0]) / (1 + known.sum(0)))
    near = _nearest(_unit(_words(found.texts, vocabulary_size) * rarity), _unit(known * rarity))
    colours = colours_of(lambda some: train.images(some).numpy(), rows)
    shown = colours_of(lambda some: test.images(some).numpy(), found.rows)
    return np.asarray(unit(shown - colours.mean(0)) @ unit(colours[near].mean(1) - colours.mean(0)).T)


def _words(texts: list[list[TokenIds]], vocabulary_size: int) -> csr_array:
    """Which tokens each description has, float64 [n, V]."""
    each = [np.unique(np.concatenate(parts)) for parts in texts]
    row = np.repeat(np.arange(len(texts)), [len(tokens) for tokens in each])
    return csr_array((np.ones(len(row)), (row, np.concatenate(each))), shape=(len(texts), vocabulary_size))


def _unit(rows: csr_array) -> csr_array:
    return csr_array(rows / np.maximum(norm(rows, axis=1), 1e-12)[:, None])


def _nearest(asked: csr_array, known: csr_array) -> np.ndarray:
    """The ``NEIGHBOURS`` rows of ``known`` that each of ``asked`` has most in common with, int64 [T, NEIGHBOURS]."""
    some = [asked[start : start + _AT_ONCE] @ known.T for start in range(0, asked.shape[0], _AT_ONCE)]
    return np.concatenate([np.argsort(-each.toarray(), axis=1, kind="stable")[:, :NEIGHBOURS] for each in some])
