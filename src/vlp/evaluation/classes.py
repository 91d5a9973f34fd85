"""Precision, recall and F1 of many classes, averaged over them (macro): a rare class counts as much as a common one.

One class a row and several are the same here: bool [N, K], one column a class. Of a class that has rows, what is
undefined because nothing was called it counts as 0. A class that neither has rows nor was called does not count.
Points and intervals come from the same weighted counts, over the same classes: those that count in all rows. A resample
in which a class is without rows, or was not called, says nothing of its recall, or its precision: there it is what it
is in all rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlp.evaluation.binary import Ranking
from vlp.evaluation.intervals import Bootstrap
from vlp.evaluation.slices import largest, more

INTERVALS = 200
"""At most so many classes are ranked anew in every resample."""
AVERAGES = ("macro_precision", "macro_recall", "macro_f1")


def one_hot(codes: np.ndarray, classes: int) -> np.ndarray:
    """Bool [N, K] of class numbers int [N]; a number outside 0 … K − 1 is a row without a class."""
    return np.asarray(codes)[:, None] == np.arange(classes)


def macro(
    targets: np.ndarray, called: np.ndarray, bootstrap: Bootstrap | None = None
) -> dict[str, float | list[float]]:
    """Macro precision, recall and F1, each with its interval.

    Args:
        targets: bool [N, K].
        called: bool [N, K].
        bootstrap: of the same N rows; without it there are no ``_ci95`` keys.

    Returns:
        ``macro_precision``, ``macro_precision_ci95``, …

    Raises:
        ValueError: the shapes differ, or there is no row.
    """
    counts = _Counts(targets, called)
    everything = counts.averaged(np.ones((1, len(targets)), np.float32))
    found: dict[str, float | list[float]] = {name: float(values[0]) for name, values in everything.items()}
    if bootstrap is not None:
        found |= {f"{name}_ci95": list(pair) for name, pair in bootstrap.weighted_each(counts.averaged).items()}
    return found


def macro_roc_auc(targets: np.ndarray, scores: np.ndarray, bootstrap: Bootstrap) -> dict[str, float | list[float]]:
    """``macro_roc_auc``, the mean over classes of one against the rest, with its interval.

    A class that all or none of the rows have ranks nothing and does not count. A resample that lacks one of the others
    says nothing of it: it counts there as it does in all rows, so that a rare class neither drops out of the mean nor
    is a zero in it. Of more than ``INTERVALS`` classes there is no interval (NaN): each would be ranked every time.

    Args:
        targets: bool [N, K].
        scores: [N, K], larger is likelier.
        bootstrap: of the same N rows.
    """
    ranked = np.flatnonzero(targets.any(0) & ~targets.all(0))
    everything = np.ones((1, len(targets)), np.float32)
    each = np.array([Ranking(targets[:, k], scores[:, k]).roc_auc(everything)[0] for k in ranked])
    unknown = [float("nan")] * 2
    if not len(ranked):
        return {"macro_roc_auc": float("nan"), "macro_roc_auc_ci95": unknown}
    found: dict[str, float | list[float]] = {"macro_roc_auc": float(each.mean()), "macro_roc_auc_ci95": unknown}
    if len(ranked) <= INTERVALS:
        rankings = [Ranking(targets[:, k], scores[:, k]) for k in ranked]

        def mean(weights: np.ndarray) -> np.ndarray:
            drawn = np.stack([ranking.roc_auc(weights) for ranking in rankings])
            return np.asarray(np.where(np.isfinite(drawn), drawn, each[:, None]).mean(0))

        found["macro_roc_auc_ci95"] = list(bootstrap.weighted(mean))
    return found


def by_class(targets: np.ndarray, called: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, float | int]]:
    """Precision, recall and F1 of each class that has rows or was called, beside its size (rows that have it).

    Of more classes than ``slices.MOST`` the largest have an entry of their own, and the rest one together, named by how
    many they are: the means over them, their sizes added up.
    """
    counts = _Counts(targets, called).by_class
    sizes = np.asarray(targets).sum(axis=0)
    counted = np.flatnonzero(np.isfinite(counts["macro_f1"]))
    own, rest = largest(counted, sizes[counted])

    def figures(some: np.ndarray) -> dict[str, float | int]:
        means = {figure.removeprefix("macro_"): float(counts[figure][some].mean()) for figure in AVERAGES}
        return {**means, "size": int(sizes[some].sum())}

    found = {names[k]: figures(np.array([k])) for k in own.tolist()}
    return found | ({more(len(rest)): figures(rest)} if len(rest) else {})


class _Counts:
    """What every figure is a ratio of, under any weighting of the rows."""

    def __init__(self, targets: np.ndarray, called: np.ndarray) -> None:
        targets, called = np.asarray(targets, bool), np.asarray(called, bool)
        if targets.shape != called.shape or targets.ndim != 2 or not len(targets):
            raise ValueError(f"two tables of rows and classes wanted, found {targets.shape} and {called.shape}")
        self._each = [table.astype(np.float32) for table in (targets & called, called, targets)]
        counts = (targets | called).any(0)
        everything = self._ratios(np.ones((1, len(targets)), np.float32))
        self.by_class = {name: np.where(counts, np.nan_to_num(each[0]), np.nan) for name, each in everything.items()}
        """Each figure in all rows, [K]; NaN for a class that does not count."""

    def _ratios(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """[R, N] → each figure [R, K]; NaN where it is a ratio of nothing."""
        hits, called, actual = ((weights @ table).astype(np.float64) for table in self._each)

        def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
            return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)

        return {
            "macro_precision": ratio(hits, called),
            "macro_recall": ratio(hits, actual),
            "macro_f1": ratio(2 * hits, called + actual),
        }

    def averaged(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """[R, N] → each figure [R], of the same classes in each of R; NaN where none counts."""
        counted = np.isfinite(self.by_class["macro_f1"])
        if not counted.any():
            return {name: np.full(len(weights), np.nan) for name in AVERAGES}

        def mean(drawn: np.ndarray, everything: np.ndarray) -> np.ndarray:
            # Left out, or taken for zero, rare classes would move the mean of every resample that lacks them.
            return np.asarray(np.where(np.isfinite(drawn), drawn, everything)[:, counted].mean(1))

        return {name: mean(drawn, self.by_class[name]) for name, drawn in self._ratios(weights).items()}
