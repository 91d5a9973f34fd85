"""Ranks of right answers among candidates, and what is reported of them.

Several candidates may be right for one query; what counts is the best of them. A wrong candidate with
the same score stands before a right one: nothing is won by saying the same of everything.

Source: recall@k as in Karpathy & Fei-Fei 2015, https://arxiv.org/abs/1412.2306
"""

from __future__ import annotations

import numpy as np

from vlp.evaluation.intervals import Bootstrap

CUTS = (1, 5, 10)
"""The k of recall@k."""


class RankingError(ValueError):
    """Scores that cannot be ranked: of another shape than the answers, not finite, or a query without a right one."""


def ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The rank of each query's best right candidate, 1 for the first: int64 [Q].

    Args:
        scores: finite [Q, N], larger is better.
        right: bool [Q, N], at least one a query.

    Raises:
        RankingError: shapes differ, a score is not finite, or a query has no right candidate.
    """
    scores, right = np.asarray(scores, np.float64), np.asarray(right, bool)
    if scores.shape != right.shape or scores.ndim != 2 or not scores.size:
        raise RankingError(f"one score a query and candidate wanted, found {scores.shape} for answers {right.shape}")
    if not np.isfinite(scores).all():
        raise RankingError("a score is not a finite number: the model has diverged")
    if not right.any(1).all():
        raise RankingError(f"query {int(np.flatnonzero(~right.any(1))[0])} has no right candidate")
    best = np.where(right, scores, -np.inf).max(1, keepdims=True)
    return np.asarray(1 + (~right & (scores >= best)).sum(1))


def recalls(found: np.ndarray, prefix: str, bootstrap: Bootstrap | None = None) -> dict[str, float | list[float]]:
    """``<prefix>_r1``, ``_r5``, ``_r10``, and with a bootstrap their ``_ci95``, of ranks [Q]."""
    report: dict[str, float | list[float]] = {}
    for cut in CUTS:
        hits = (found <= cut).astype(np.float64)
        report[f"{prefix}_r{cut}"] = float(hits.mean())
        if bootstrap is not None:
            report[f"{prefix}_r{cut}_ci95"] = list(bootstrap.ratio(hits))
    return report


def random_recall(right: np.ndarray, cut: int = 1) -> float:
    """Recall@cut to be expected of a random order: bool [Q, N].

    Of N candidates with R right ones, ``cut`` drawn without replacement miss all with probability
    C(N − R, cut) / C(N, cut).
    """
    candidates, good = right.shape[1], right.sum(1)
    missed = np.ones(len(right))
    for drawn in range(min(cut, candidates)):
        missed *= np.maximum(candidates - good - drawn, 0) / (candidates - drawn)
    return float(1 - missed.mean())


def recall_curve(found: np.ndarray, most: int) -> list[dict[str, float]]:
    """``k`` and ``recall`` for k = 1 … ``most``, for ``dvc plots``."""
    return [{"k": cut, "recall": float((found <= cut).mean())} for cut in range(1, most + 1)]
