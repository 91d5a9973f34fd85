"""Binary metrics on cases a reader can work out, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from vlp.evaluation import binary
from vlp.evaluation.intervals import Bootstrap

# Four statements, two of them true; one true one scores below a false one.
TARGETS = np.array([1, 1, 0, 0])
SCORES = np.array([0.9, 0.4, 0.6, 0.1])

scored = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), min_size=1, max_size=40)


def split(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    targets, scores = np.array(rows).T
    return targets, scores / 10


def test_the_worked_case() -> None:
    found = binary.report(TARGETS, SCORES, threshold=0.5)
    assert found["accuracy"] == 0.5  # 0.9 and 0.1 are on their sides
    assert found["precision"] == 0.5  # of 0.9 and 0.6, called true, one is
    assert found["recall"] == 0.5
    assert found["f1"] == 0.5
    assert found["roc_auc"] == 0.75  # three of the four (true, false) pairs in order
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["base_rate"] == 0.5


def test_a_score_equal_to_the_threshold_is_called_true() -> None:
    assert binary.report(np.array([1, 0]), np.array([0.5, 0.4]), threshold=0.5)["accuracy"] == 1.0


def test_what_is_undefined_is_nan_and_not_a_number_that_flatters() -> None:
    nothing_called = binary.report(np.array([1, 0]), np.array([0.1, 0.2]), threshold=0.5)
    assert np.isnan(nothing_called["precision"])
    one_class = binary.report(np.array([1, 1]), np.array([0.1, 0.2]), threshold=0.5)
    assert np.isnan(one_class["roc_auc"])
    no_true_row = binary.report(np.array([0, 0]), np.array([0.1, 0.2]), threshold=0.5)
    assert np.isnan(no_true_row["average_precision"])
    assert np.isnan(no_true_row["recall"])


def test_every_metric_has_an_interval_that_holds_it() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, 300)
    scores = targets + generator.normal(size=300)
    found = binary.report(targets, scores, 0.5, Bootstrap([str(i // 3) for i in range(300)], seed=1, resamples=200))
    names = {name for name in found if not name.endswith("_ci95")}
    assert {f"{name}_ci95" for name in names} == set(found) - names
    for name in names:
        low, high = found[f"{name}_ci95"]
        assert low < found[name] < high


@pytest.mark.parametrize(
    ("targets", "scores", "objective", "threshold"),
    [
        # 0.4 | 0.6: three right. So does 0.1 | 0.4 (2 true, 1 of 2 false); it is the wider gap.
        ([1, 1, 0, 0], [0.9, 0.4, 0.6, 0.1], "accuracy", 0.25),
        # Perfectly separated: half-way.
        ([1, 1, 0, 0], [4.0, 3.0, 1.0, 0.0], "accuracy", 2.0),
        ([1, 1, 0, 0], [4.0, 3.0, 1.0, 0.0], "f1", 2.0),
        # All true: everything is called true.
        ([1, 1], [0.2, 0.7], "accuracy", 0.2),
        # F1 wants the lone true row although calling nothing true is right as often.
        ([1, 0, 0, 0], [0.5, 0.6, 0.2, 0.1], "f1", 0.35),
    ],
)
def test_thresholds_worked_by_hand(targets: list[int], scores: list[float], objective: str, threshold: float) -> None:
    assert binary.choose_threshold(np.array(targets), np.array(scores), objective) == pytest.approx(threshold)  # type: ignore[arg-type]


def test_a_threshold_above_every_score_calls_nothing_true() -> None:
    scores = np.array([0.2, 0.7])
    assert binary.choose_threshold(np.array([0, 0]), scores) > 0.7


@given(scored, st.sampled_from(["accuracy", "f1"]))
def test_no_other_threshold_is_better(rows: list[tuple[int, int]], objective: str) -> None:
    targets, scores = split(rows)

    def quality(threshold: float) -> float:
        called = (scores >= threshold).astype(int)
        if objective == "f1":
            return float(metrics.f1_score(targets, called, zero_division=0.0))
        return float((called == targets).mean())

    chosen = quality(binary.choose_threshold(targets, scores, objective))  # type: ignore[arg-type]
    assert chosen >= max(quality(threshold) for threshold in np.arange(-0.05, 1.1, 0.05)) - 1e-12


@given(scored)
def test_the_order_of_the_rows_does_not_matter(rows: list[tuple[int, int]]) -> None:
    targets, scores = split(rows)
    there = binary.choose_threshold(targets, scores)
    assert binary.choose_threshold(targets[::-1], scores[::-1]) == there


@given(scored.filter(lambda rows: 0 < sum(target for target, _ in rows) < len(rows)), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_weighted_ranking_metrics_are_scikit_learns(rows: list[tuple[int, int]], seed: int) -> None:
    targets, scores = split(rows)
    weights = np.random.default_rng(seed).integers(1, 4, len(rows)).astype(np.float32)
    ranking = binary.Ranking(targets, scores)
    expected = metrics.roc_auc_score(targets, scores, sample_weight=weights)
    assert ranking.roc_auc(weights[None])[0] == pytest.approx(expected)
    expected = metrics.average_precision_score(targets, scores, sample_weight=weights)
    assert ranking.average_precision(weights[None])[0] == pytest.approx(expected)


def test_ranking_metrics_of_a_resample_without_a_class_are_undefined() -> None:
    ranking = binary.Ranking(TARGETS, SCORES)
    assert np.isnan(ranking.roc_auc(np.array([[1, 1, 0, 0]], np.float32))[0])
    assert np.isnan(ranking.average_precision(np.array([[0, 0, 1, 1]], np.float32))[0])


def test_hard_negatives_a_tie_counts_half() -> None:
    # won, won, lost, tied
    assert binary.hard_negative_accuracy(np.array([3, 2, 1, 5]), np.array([1, 1, 2, 5])) == 2.5 / 4


def test_hard_negatives_that_do_not_pair_are_refused() -> None:
    with pytest.raises(binary.EvaluationError, match="pairs of scores wanted"):
        binary.hard_negative_accuracy(np.array([1.0, 2.0]), np.array([1.0]))


def test_roc_of_the_worked_case() -> None:
    points = binary.roc_points(TARGETS, SCORES)
    assert [(point["false_positive_rate"], point["true_positive_rate"]) for point in points] == [
        (0.0, 0.0),
        (0.0, 0.5),
        (0.5, 0.5),
        (0.5, 1.0),
        (1.0, 1.0),
    ]


def test_precision_recall_of_the_worked_case() -> None:
    points = binary.precision_recall_points(TARGETS, SCORES)
    assert [(point["recall"], point["precision"]) for point in points] == [
        (0.0, 1.0),
        (0.5, 1.0),
        (0.5, 0.5),
        (1.0, pytest.approx(2 / 3)),
        (1.0, 0.5),
    ]


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    generator = np.random.default_rng(0)
    targets, scores = generator.integers(0, 2, 5000), generator.normal(size=5000)
    points = binary.roc_points(targets, scores)
    assert len(points) == 200
    assert points[0] == {"false_positive_rate": 0.0, "true_positive_rate": 0.0}
    assert points[-1] == {"false_positive_rate": 1.0, "true_positive_rate": 1.0}
    assert len(binary.precision_recall_points(targets, scores)) == 200


def test_a_curve_of_one_class_has_no_points() -> None:
    assert binary.roc_points(np.array([1, 1]), np.array([0.1, 0.2])) == []
    assert binary.precision_recall_points(np.array([0, 0]), np.array([0.1, 0.2])) == []


def test_confusion_rows_name_both_sides() -> None:
    rows = binary.confusion_rows(np.array([1, 0]), np.array([0.1, 0.2]), threshold=0.15)
    assert rows == [{"actual": "true", "predicted": "false"}, {"actual": "false", "predicted": "true"}]


@pytest.mark.parametrize(
    ("targets", "scores", "message"),
    [
        ([1, 0], [0.5], "one score a target"),
        ([], [], "no row"),
        ([2, 0], [0.5, 0.5], "0 or 1"),
        ([1, 0], [0.5, float("nan")], "score of row 1 is nan"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(targets: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(binary.EvaluationError, match=message):
        binary.report(np.array(targets), np.array(scores), threshold=0.5)
