"""CIDEr-D: how alike are a caption and its references in the words that are telling?

Runs of one to four words are weighted by how rare they are among the references of the corpus (TF-IDF); what is
compared are the vectors' cosines, with counts clipped to the reference's, so that repeating a telling word gains
nothing, and a Gaussian penalty on the difference in length. The mean over references and lengths, times ten: the
variant that COCO's server reports as CIDEr.

Source: Vedantam et al. 2015, https://arxiv.org/abs/1411.5726
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from vlp.tasks.captioning.ngrams import LONGEST, ngrams, tokens

SIGMA = 6.0
SCALE = 10.0
Ngram = tuple[str, ...]
Vector = dict[Ngram, float]


class Cider:
    """CIDEr-D against the references of a corpus.

    Args:
        references: the references of each image, one or more.

    Raises:
        ValueError: an image has none.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        if not all(references):
            raise ValueError("CIDEr: an image without a reference caption")
        words = [[tokens(reference) for reference in some] for some in references]
        seen: Counter[Ngram] = Counter()
        for some in words:
            seen.update({run for each in some for length in range(1, LONGEST + 1) for run in ngrams(each, length)})
        self._images = math.log(len(references))
        self._idf = {run: self._images - math.log(count) for run, count in seen.items()}
        self._references = [[self._vectors(each) for each in some] for some in words]
        self._lengths = [[len(each) for each in some] for some in words]

    def scores(self, candidates: Sequence[str]) -> np.ndarray:
        """One score a caption, in the images' order: float64 [N], 0 to 10."""
        each = zip(candidates, self._references, self._lengths, strict=True)
        return np.array([self._score(tokens(text), vectors, lengths) for text, vectors, lengths in each])

    def _score(self, words: list[str], references: list[list[Vector]], lengths: list[int]) -> float:
        own = self._vectors(words)
        total = 0.0
        for vectors, length in zip(references, lengths, strict=True):
            penalty = math.exp(-((len(words) - length) ** 2) / (2 * SIGMA**2))
            total += penalty * sum(map(_clipped_cosine, own, vectors)) / LONGEST
        return SCALE * total / len(references)

    def _vectors(self, words: list[str]) -> list[Vector]:
        """TF-IDF of the runs of each length; a run that no reference has is as rare as can be."""
        return [
            {run: count * self._idf.get(run, self._images) for run, count in ngrams(words, length).items()}
            for length in range(1, LONGEST + 1)
        ]


def _clipped_cosine(own: Vector, reference: Vector) -> float:
    norms = _norm(own) * _norm(reference)
    if not norms:
        return 0.0
    return sum(min(weight, reference.get(run, 0.0)) * reference.get(run, 0.0) for run, weight in own.items()) / norms


def _norm(vector: Vector) -> float:
    return math.sqrt(sum(weight * weight for weight in vector.values()))
