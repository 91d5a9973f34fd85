"""Metrics of a yes-or-no decision made by holding a score against a threshold.

A statement is called true where ``score >= threshold``. What is undefined (precision when nothing was
called true, ROC-AUC of one class) is NaN, which ``vlp.files.write_json`` writes as null, never a
flattering zero or one. The point values are scikit-learn's; the intervals resample groups.

Source: Fawcett, An introduction to ROC analysis (2006), https://doi.org/10.1016/j.patrec.2005.10.010
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from vlp.evaluation.intervals import Bootstrap, Interval

Objective = Literal["accuracy", "f1"]
Report = dict[str, float | list[float]]
CURVE_POINTS = 200


class EvaluationError(ValueError):
    """Scores and targets that cannot be evaluated: of different lengths, empty, or not finite."""


def choose_threshold(targets: np.ndarray, scores: np.ndarray, objective: Objective = "accuracy") -> float:
    """The threshold that is best on these (validation) scores.

    Candidates lie half-way between neighbouring scores, and beyond either end. Of equally good ones the
    widest gap wins, where a small shift of the scores changes least, then the lowest.

    Args:
        targets: {0, 1} [N].
        scores: finite [N], larger is truer.
        objective: what to maximise.

    Raises:
        EvaluationError: lengths differ, nothing is there, or a score is not finite.
    """
    targets, scores = _checked(targets, scores)
    values, inverse = np.unique(scores, return_inverse=True)
    positives = np.bincount(inverse, weights=targets)
    negatives = np.bincount(inverse, weights=1 - targets)
    # Candidate k calls true the scores values[k:], for k = 0 … len(values).
    called = np.concatenate([np.cumsum(positives[::-1])[::-1], [0.0]])
    false_alarms = np.concatenate([np.cumsum(negatives[::-1])[::-1], [0.0]])
    if objective == "accuracy":
        quality = called - false_alarms  # correct = called + (negatives − false alarms)
    else:
        quality = 2 * called / np.maximum(called + false_alarms + positives.sum(), 1)
    # Beyond the ends there is no gap to speak of: such a threshold wins only by being better.
    gaps = np.concatenate([[0.0], np.diff(values), [0.0]])
    best = np.flatnonzero(quality == quality.max())
    chosen = int(best[np.argmax(gaps[best])])
    if chosen == 0:
        return float(values[0])
    if chosen == len(values):
        return float(np.nextafter(values[-1], np.inf))
    middle = values[chosen - 1] / 2 + values[chosen] / 2
    return float(middle if middle > values[chosen - 1] else values[chosen])


def report(targets: np.ndarray, scores: np.ndarray, threshold: float, bootstrap: Bootstrap | None = None) -> Report:
    """Accuracy, precision, recall, F1, ROC-AUC, average precision and base rate, each with its interval.

    Args:
        targets: {0, 1} [N].
        scores: finite [N].
        threshold: chosen on other data than this.
        bootstrap: resampled groups of the same N rows; without it there are no ``_ci95`` keys.

    Returns:
        ``accuracy``, …, and ``accuracy_ci95``: ``[low, high]``, …

    Raises:
        EvaluationError: as ``choose_threshold``, or the bootstrap is of another number of rows.
    """
    from sklearn import metrics  # here: it takes seconds, and who trains only chooses thresholds

    targets, scores = _checked(targets, scores)
    called = (scores >= threshold).astype(np.int64)
    both = 0 < targets.sum() < len(targets)
    kwargs = {"zero_division": np.nan}
    values: dict[str, float] = {
        "accuracy": metrics.accuracy_score(targets, called),
        "precision": metrics.precision_score(targets, called, **kwargs),
        "recall": metrics.recall_score(targets, called, **kwargs),
        "f1": metrics.f1_score(targets, called, **kwargs),
        "roc_auc": metrics.roc_auc_score(targets, scores) if both else np.nan,
        "average_precision": metrics.average_precision_score(targets, scores) if targets.any() else np.nan,
        "base_rate": targets.mean(),
    }
    found: Report = {name: float(value) for name, value in values.items()}
    if bootstrap is not None:
        found |= {f"{name}_ci95": list(pair) for name, pair in _intervals(targets, scores, called, bootstrap).items()}
    return found


def _intervals(
    targets: np.ndarray, scores: np.ndarray, called: np.ndarray, bootstrap: Bootstrap
) -> dict[str, Interval]:
    hit = targets * called
    one = np.ones(len(targets))
    return {
        "accuracy": bootstrap.ratio(targets == called, one),
        "precision": bootstrap.ratio(hit, called),
        "recall": bootstrap.ratio(hit, targets),
        "f1": bootstrap.ratio(2 * hit, targets + called),
        "roc_auc": bootstrap.weighted(Ranking(targets, scores).roc_auc),
        "average_precision": bootstrap.weighted(Ranking(targets, scores).average_precision),
        "base_rate": bootstrap.ratio(targets, one),
    }


class Ranking:
    """Ranking metrics of one set of scores under many weightings of its rows at once."""

    def __init__(self, targets: np.ndarray, scores: np.ndarray) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._targets = targets[self._order].astype(np.float32)
        falling = scores[self._order]
        # Rows of one score are one step of the curve: its first row starts it.
        self._steps = np.flatnonzero(np.concatenate([[True], falling[1:] != falling[:-1]]))

    def roc_auc(self, weights: np.ndarray) -> np.ndarray:
        """Share of (true, false) pairs in the right order, ties counting half: ``weights`` [R, N] → [R]."""
        positives, negatives = self._stepped(weights)
        above = np.cumsum(positives, axis=1) - positives / 2
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        return _divide((above * negatives).sum(axis=1), pairs)

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Mean over the true rows of the precision at their score: ``weights`` [R, N] → [R]."""
        positives, negatives = self._stepped(weights)
        hits = np.cumsum(positives, axis=1)
        precision = hits / np.maximum(hits + np.cumsum(negatives, axis=1), 1)
        return _divide((precision * positives).sum(axis=1), positives.sum(axis=1))

    def _stepped(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight of true and of false rows at each distinct score, highest first: two [R, steps]."""
        ordered = weights[:, self._order]
        positives = ordered * self._targets
        negatives = ordered - positives
        if len(self._steps) < len(self._order):
            positives = np.add.reduceat(positives, self._steps, axis=1)
            negatives = np.add.reduceat(negatives, self._steps, axis=1)
        return positives.astype(np.float64), negatives.astype(np.float64)


def hard_negative_outcomes(positive_scores: np.ndarray, negative_scores: np.ndarray) -> np.ndarray:
    """1 where the true statement scores above its minimal edit, ½ for a tie, 0 otherwise: float [N].

    Raises:
        EvaluationError: lengths differ or nothing is there.
    """
    above, below = np.asarray(positive_scores, np.float64), np.asarray(negative_scores, np.float64)
    if above.shape != below.shape or above.ndim != 1 or not len(above):
        raise EvaluationError(f"pairs of scores wanted, found {above.shape} true and {below.shape} edited statements")
    return np.asarray((above > below) + 0.5 * (above == below))


def hard_negative_accuracy(positive_scores: np.ndarray, negative_scores: np.ndarray) -> float:
    """Share of pairs in which the true statement scores above its minimal edit; a tie counts half.

    Row by row, ``positive_scores`` [N] and ``negative_scores`` [N] are of the same image. Chance is 0.5.
    Source: Thrush et al., Winoground (2022), the text score, https://arxiv.org/abs/2204.03162
    """
    return float(hard_negative_outcomes(positive_scores, negative_scores).mean())


def roc_points(targets: np.ndarray, scores: np.ndarray, limit: int = CURVE_POINTS) -> list[dict[str, float]]:
    """At most ``limit`` points of the ROC curve, both ends among them; none where a class is missing."""
    from sklearn import metrics  # here: as in `report`

    targets, scores = _checked(targets, scores)
    if not 0 < targets.sum() < len(targets):
        return []
    alarms, hits, _ = metrics.roc_curve(targets, scores)
    return [
        {"false_positive_rate": float(alarms[i]), "true_positive_rate": float(hits[i])}
        for i in _thinned(len(alarms), limit)
    ]


def precision_recall_points(
    targets: np.ndarray, scores: np.ndarray, limit: int = CURVE_POINTS
) -> list[dict[str, float]]:
    """At most ``limit`` points of the precision–recall curve, by rising recall; none without a true row."""
    from sklearn import metrics  # here: as in `report`

    targets, scores = _checked(targets, scores)
    if not targets.any():
        return []
    precision, recall, _ = metrics.precision_recall_curve(targets, scores)
    return [
        {"recall": float(recall[::-1][i]), "precision": float(precision[::-1][i])} for i in _thinned(len(recall), limit)
    ]


def confusion_rows(
    targets: np.ndarray, scores: np.ndarray, threshold: float, labels: Sequence[str] = ("false", "true")
) -> list[dict[str, str]]:
    """One row a decision, ``actual`` and ``predicted``: what the ``confusion`` template of DVC counts."""
    targets, scores = _checked(targets, scores)
    called = (scores >= threshold).astype(np.int64)
    return [
        {"actual": labels[actual], "predicted": labels[predicted]}
        for actual, predicted in zip(targets.tolist(), called.tolist(), strict=True)
    ]


def _thinned(count: int, limit: int) -> list[int]:
    """At most ``limit`` evenly spread positions of ``count``, first and last among them."""
    spread = np.linspace(0, count - 1, min(count, limit))
    return [int(position) for position in np.unique(np.round(spread).astype(np.int64))]


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


def _checked(targets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    targets, scores = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    if targets.shape != scores.shape or targets.ndim != 1:
        raise EvaluationError(f"one score a target wanted, found targets {targets.shape} and scores {scores.shape}")
    if not len(targets):
        raise EvaluationError("nothing to evaluate: no row")
    if not np.isin(targets, (0, 1)).all():
        raise EvaluationError(f"targets are 0 or 1, found {sorted(set(targets.tolist()) - {0, 1})[:5]}")
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise EvaluationError(f"score of row {row} is {scores[row]}: the model has diverged")
    return targets.astype(np.int64), scores
