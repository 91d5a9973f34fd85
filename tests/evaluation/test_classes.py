"""Macro figures against scikit-learn, and at their edges."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from vlp.evaluation.classes import by_class, macro, macro_roc_auc, one_hot
from vlp.evaluation.intervals import Bootstrap
from vlp.evaluation.slices import MOST


def tables(rows: int = 60, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    targets = rng.random((rows, classes)) < 0.3
    return targets, targets ^ (rng.random((rows, classes)) < 0.2)


def test_the_figures_are_scikit_learns():
    targets, called = tables()
    found = macro(targets, called)
    assert found["macro_precision"] == pytest.approx(metrics.precision_score(targets, called, average="macro"))
    assert found["macro_recall"] == pytest.approx(metrics.recall_score(targets, called, average="macro"))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(targets, called, average="macro"))


def test_one_class_a_row_is_the_same_as_a_table_of_one_column_each():
    rng = np.random.default_rng(2)
    codes, said = rng.integers(0, 4, 80), rng.integers(0, 4, 80)
    assert macro(one_hot(codes, 4), one_hot(said, 4))["macro_f1"] == pytest.approx(
        metrics.f1_score(codes, said, average="macro")
    )


def test_each_figure_lies_in_its_interval_and_rows_of_a_group_stay_together():
    targets, called = tables(200)
    found = macro(targets, called, Bootstrap([str(row // 2) for row in range(200)], seed=0, resamples=300))
    for name in ("macro_precision", "macro_recall", "macro_f1"):
        low, high = found[f"{name}_ci95"]
        assert low < found[name] < high


def test_a_rare_class_that_is_always_wrong_does_not_leave_the_mean_of_a_resample():
    # Two common classes always right, and sixty of one row each that are called by the first's name.
    codes = np.r_[np.zeros(300, int), np.ones(300, int), np.arange(2, 62)]
    said = np.where(codes < 2, codes, 0)
    bootstrap = Bootstrap([str(row) for row in range(660)], seed=0, resamples=300)
    found = macro(one_hot(codes, 62), one_hot(said, 62), bootstrap)
    for name in ("macro_precision", "macro_recall", "macro_f1"):
        low, high = found[f"{name}_ci95"]
        assert low <= found[name] <= high < 0.04


def test_a_resample_without_a_class_s_row_says_nothing_of_its_recall():
    # Sixty classes of one row each, found; each called by mistake once, too, so that a resample may have that alone.
    codes, wrong = np.arange(60), np.full(60, 60)
    targets, called = one_hot(np.r_[codes, wrong], 61), one_hot(np.r_[codes, codes], 61)
    found = macro(targets, called, Bootstrap([str(row) for row in range(120)], seed=0, resamples=300))
    for name in ("macro_precision", "macro_recall"):
        low, high = found[f"{name}_ci95"]
        assert low <= found[name] <= high
    assert found["macro_recall_ci95"] == pytest.approx([60 / 61] * 2)


def test_a_class_that_was_never_called_counts_as_nothing_and_one_that_is_nowhere_not_at_all():
    targets = np.array([[1, 1, 0], [1, 0, 0]], bool)
    called = np.array([[1, 0, 0], [1, 0, 0]], bool)
    assert macro(targets, called) == {"macro_precision": 0.5, "macro_recall": 0.5, "macro_f1": 0.5}
    assert by_class(targets, called, ["a", "b", "c"]) == {
        "a": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "size": 2},
        "b": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "size": 1},
    }


def test_a_number_outside_the_classes_is_a_row_without_one():
    assert one_hot(np.array([1, -1]), 2).tolist() == [[False, True], [False, False]]


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="two tables of rows and classes"):
        macro(np.ones((2, 3), bool), np.ones((3, 2), bool))


def test_of_thousands_of_classes_the_small_ones_are_told_together():
    rows = np.arange(1600)
    codes = np.where(rows < 400, rows // 2, rows - 200)  # 200 classes of two rows, 1200 of one
    targets = one_hot(codes, 1400)
    found = by_class(targets, targets, [f"{number:04d}" for number in range(1400)])
    assert len(found) == MOST + 1 and found["0000"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "size": 2}
    assert found["1200 more"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "size": 1200}


def test_a_class_that_a_resample_lacks_is_neither_a_zero_nor_gone():
    # One class of one row, ranked last: a third of the resamples lack it.
    targets = one_hot((np.arange(30) == 29).astype(int), 2)[:, 1:]
    scores = np.linspace(1, 0, 30)[:, None]
    found = macro_roc_auc(targets, 1 - scores, Bootstrap([str(row) for row in range(30)], seed=0))
    assert found == {"macro_roc_auc": 1.0, "macro_roc_auc_ci95": [1.0, 1.0]}


def test_a_rare_class_of_low_rank_does_not_leave_the_mean():
    common = np.arange(40) % 2 == 0
    rare = np.arange(40) == 39
    targets = np.stack([common, rare], axis=1)
    scores = np.stack([common, ~rare], axis=1).astype(float)  # the one always right, the other always wrong
    found = macro_roc_auc(targets, scores, Bootstrap([str(row) for row in range(40)], seed=0))
    assert found["macro_roc_auc"] == 0.5 and found["macro_roc_auc_ci95"] == [0.5, 0.5]


def test_thousands_of_classes_are_ranked_once(monkeypatch):
    targets, _ = tables(60, 5)
    bootstrap = Bootstrap([str(row) for row in range(60)], seed=0, resamples=100)
    whole = macro_roc_auc(targets, targets * 1.0, bootstrap)
    monkeypatch.setattr("vlp.evaluation.classes.INTERVALS", 4)
    found = macro_roc_auc(targets, targets * 1.0, bootstrap)
    assert found["macro_roc_auc"] == whole["macro_roc_auc"] == 1 and np.isnan(found["macro_roc_auc_ci95"]).all()
