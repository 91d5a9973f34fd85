"""VQA accuracy: an answer is as right as people agree with it.

Source: Antol et al. 2015, https://arxiv.org/abs/1505.00468; averaged over all sets of all but one person, and texts
made alike, as https://visualqa.org/evaluation.html says.
"""

from __future__ import annotations

from collections.abc import Sequence

from vlp.preprocessing.answers import plain

LEAST = 4
"""Answers that a question needs: with three others agreeing an answer is right, so fewer could never be."""


def consensus(answer: str, given: Sequence[str]) -> float:
    """How right ``answer`` is, 0 to 1: min(1, others who gave it / 3), the mean over leaving out one person each.

    Args:
        answer: what was said.
        given: what each person said, ``LEAST`` or more.
    """
    said = plain(answer)
    agree, people = sum(plain(each) == said for each in given), len(given)
    return (agree * min(1.0, (agree - 1) / 3) + (people - agree) * min(1.0, agree / 3)) / people
