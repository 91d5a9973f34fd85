"""Cross-validation by group folds on frozen features: how much does a figure hang on which records it was learnt from?

A linear head is fitted anew for each fold, in closed form (ridge regression on ±1), on features that the backbone
gives and that stay as they are: seconds for thousands of records. No group is torn between folds. The features must
come from a backbone that has not been trained on these records, else every fold has seen its answers.

What counts is the figure of all held-out decisions together. A mean over folds of macro F1 would be another, larger
one: each fold averages over the classes that it happens to have, so that a rare class that is always wrong counts in
few of them. Single folds are told for how far they lie apart.

Sources: Kornblith et al., Do better ImageNet models transfer better? (2019), on linear heads on frozen features,
https://arxiv.org/abs/1805.08974; ridge classification with leave-one-out scores in closed form: Rifkin & Lippert
(2007), https://dspace.mit.edu/handle/1721.1/37318; F1 of pooled folds: Forman & Scholz, Apples-to-apples in
cross-validation studies (2010), https://doi.org/10.1145/1882471.1882479
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite, nan
from statistics import fmean, stdev
from typing import Any

import numpy as np

from vlp.evaluation import classes
from vlp.evaluation.binary import choose_threshold

Metric = Callable[[np.ndarray, np.ndarray], float]
"""Targets and decisions of held-out rows, bool [n, K] each → the figure."""


class CrossValidationError(ValueError):
    """The records give nothing to cross-validate: one group alone, or no class anywhere."""


def accuracy(targets: np.ndarray, called: np.ndarray) -> float:
    """The share of rows that are right in every class."""
    return float((targets == called).all(1).mean())


def macro_f1(targets: np.ndarray, called: np.ndarray) -> float:
    """The mean over classes."""
    figure = classes.macro(targets, called)["macro_f1"]
    assert isinstance(figure, float)
    return figure


METRICS: dict[str, Metric] = {"accuracy": accuracy, "macro_f1": macro_f1}


def cross_validate(
    features: np.ndarray,
    targets: np.ndarray,
    groups: Sequence[str],
    metric: Metric,
    *,
    folds: int,
    seed: int,
    exclusive: bool,
    ridge: float = 1.0,
) -> dict[str, Any]:
    """A figure of linear heads on frozen features: ``pooled``, over all rows, each decided by the head that was fitted
    without its fold; ``folds``, of each fold alone; ``mean`` and ``std``, of the folds.

    A fold in which the figure is not defined (macro F1 where no record has a class and none was called) is left out of
    mean and deviation, is NaN among ``folds``, and ``undefined_folds`` says how many there are.

    Args:
        features: [N, D]; standardised here, by the fitting folds' own mean and deviation.
        targets: bool [N, K].
        groups: each row's group, [N].
        metric: of held-out rows.
        folds: how many; never more than there are groups.
        seed: of which group falls into which fold.
        exclusive: one class a row, the highest score decides; else each class by itself, at the threshold that is
            best for F1 on the fitting folds' leave-one-out scores.
        ridge: weight of the penalty, in units of one standardised feature's variance a row.

    Raises:
        CrossValidationError: fewer than two groups, or no fold with a figure.
    """
    from sklearn.model_selection import GroupKFold  # here: it takes seconds, and not every task has classes

    count = min(folds, len(set(groups)))
    if count < 2:
        raise CrossValidationError(f"cross-validation needs two groups of records or more, found {len(set(groups))}")
    scores, said = [], np.zeros_like(targets, dtype=bool)
    splitter = GroupKFold(count, shuffle=True, random_state=seed)
    for fitting, held_out in splitter.split(features, groups=np.asarray(groups)):
        head = _Ridge(features[fitting], targets[fitting], ridge)
        found = head.scores(features[held_out])
        if exclusive:
            said[held_out] = classes.one_hot(found.argmax(1), targets.shape[1])
        else:
            said[held_out] = found >= _thresholds(targets[fitting], head.left_out)
        scores.append(metric(targets[held_out], said[held_out]))
    known = [score for score in scores if isfinite(score)]
    if not known:
        raise CrossValidationError(
            f"cross-validation: in none of the {count} folds has a record any class, and none was called"
        )
    spread = stdev(known) if len(known) > 1 else nan
    summary = {"pooled": metric(targets, said), "mean": fmean(known), "std": spread, "folds": scores}
    return summary | ({"undefined_folds": count - len(known)} if len(known) < count else {})


def _thresholds(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """One threshold a class; above every score for a class without rows."""
    return np.array(
        [
            choose_threshold(targets[:, k].astype(np.int64), scores[:, k], "f1") if targets[:, k].any() else np.inf
            for k in range(targets.shape[1])
        ]
    )


class _Ridge:
    """Least squares with a penalty; ``left_out`` [N, K]: each row's score by a head fitted without it."""

    def __init__(self, features: np.ndarray, targets: np.ndarray, ridge: float) -> None:
        features = np.asarray(features, np.float64)
        self._mean, spread = features.mean(0), features.std(0)
        self._scale = np.where(spread > 0, spread, 1.0)
        rows, wanted = self._standard(features), 2.0 * targets - 1.0
        self._base = wanted.mean(0)
        left, singular, right = np.linalg.svd(rows, full_matrices=False)
        shrunk = singular / (singular**2 + ridge * len(rows) / 100)
        self._weights = right.T @ (shrunk[:, None] * (left.T @ (wanted - self._base)))
        leverage = np.clip(((left**2) * (singular * shrunk)).sum(1) + 1 / len(rows), 0, 1 - 1e-6)
        fitted = rows @ self._weights + self._base
        self.left_out = wanted - (wanted - fitted) / (1 - leverage)[:, None]

    def _standard(self, features: np.ndarray) -> np.ndarray:
        return np.asarray((features - self._mean) / self._scale)

    def scores(self, features: np.ndarray) -> np.ndarray:
        """[n, D] → [n, K]."""
        return np.asarray(self._standard(np.asarray(features, np.float64)) @ self._weights + self._base)
