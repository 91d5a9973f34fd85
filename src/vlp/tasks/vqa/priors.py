"""What can be answered without looking."""

from __future__ import annotations

from collections import Counter

import numpy as np

from vlp.data.questions import Questions


def prior_answers(train: Questions, asked: Questions) -> np.ndarray:
    """What the training questions alone answer to each asked one, int64 [M].

    The commonest answer of the same words; of words that training never asked, the commonest of the same type of
    question; else the commonest of all.
    """
    by_text: dict[str, Counter[int]] = {}
    by_kind: dict[str, Counter[int]] = {}
    overall: Counter[int] = Counter()
    for text, kind, code in zip(train.text, train.kind, train.code.tolist(), strict=True):
        if code >= 0:
            by_text.setdefault(text, Counter())[code] += 1
            by_kind.setdefault(kind, Counter())[code] += 1
            overall[code] += 1

    def commonest(text: str, kind: str) -> int:
        counted = by_text.get(text) or by_kind.get(kind) or overall
        return min(counted, key=lambda code: (-counted[code], code))

    return np.array([commonest(text, kind) for text, kind in zip(asked.text, asked.kind, strict=True)], np.int64)
