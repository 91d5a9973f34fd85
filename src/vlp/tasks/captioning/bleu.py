"""BLEU-4 of a corpus: how much of what was written do the references say, in words and in runs of up to four?

One figure for the whole corpus: clipped n-gram matches and n-gram counts are summed over all captions before they are
divided, and their geometric mean is multiplied by the brevity penalty, for which each caption counts the reference
whose length is nearest (of two equally near the shorter).

Source: Papineni et al. 2002, https://aclanthology.org/P02-1040
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from vlp.tasks.captioning.ngrams import LONGEST, ngrams, tokens


def statistics(candidate: str, references: Sequence[str]) -> np.ndarray:
    """What BLEU sums of one caption: int64 [2 · 4 + 2].

    Matches and counts of 1- to 4-grams, then the length of the caption and of the nearest reference.
    """
    said = tokens(candidate)
    known = [tokens(reference) for reference in references]
    nearest = min((abs(len(words) - len(said)), len(words)) for words in known)[1]
    matches, counts = [], []
    for length in range(1, LONGEST + 1):
        own = ngrams(said, length)
        most: Counter[tuple[str, ...]] = Counter()
        for words in known:
            most |= ngrams(words, length)
        matches.append((own & most).total())
        counts.append(own.total())
    return np.array([*matches, *counts, len(said), nearest])


def score(sums: np.ndarray) -> float:
    """BLEU-4 of summed ``statistics``; 0 where no run of four words matches."""
    matches, counts = sums[:LONGEST], sums[LONGEST : 2 * LONGEST]
    said, wanted = sums[-2:]
    if not matches.all():
        return 0.0
    brevity = 1.0 if said > wanted else math.exp(1 - wanted / said)
    return float(brevity * math.exp(np.log(matches / counts).mean()))


def scores(weights: np.ndarray, each: np.ndarray) -> np.ndarray:
    """BLEU-4 of R resamples: counts [R, N] of each caption and its statistics [N, 10] → [R]."""
    return np.array([score(sums) for sums in weights.astype(np.float64) @ each])
