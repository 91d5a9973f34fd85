"""Folds that never tear a group, and a head that learns what there is and nothing that is not."""

from __future__ import annotations

import numpy as np
import pytest

from vlp.evaluation.cross_validation import METRICS, CrossValidationError, _Ridge, cross_validate


def accuracy(targets: np.ndarray, called: np.ndarray) -> float:
    return float((targets == called).all(1).mean())


def records(rows: int = 200, width: int = 6) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(rows, width))
    return features, features[:, :2] > 0, [str(row // 2) for row in range(rows)]


def test_what_the_features_hold_is_found_and_each_fold_is_told():
    features, targets, groups = records()
    found = cross_validate(features, targets, groups, accuracy, folds=5, seed=0, exclusive=False)
    assert len(found["folds"]) == 5
    assert found["pooled"] == pytest.approx(np.mean(found["folds"])) and found["pooled"] > 0.85
    assert found["std"] == pytest.approx(np.std(found["folds"], ddof=1))
    assert found == cross_validate(features, targets, groups, accuracy, folds=5, seed=0, exclusive=False)


def test_what_the_features_do_not_hold_is_not_found():
    features, _, groups = records()
    codes = np.random.default_rng(1).integers(0, 2, 200)
    targets = codes[:, None] == np.arange(2)
    found = cross_validate(features, targets, groups, accuracy, folds=4, seed=0, exclusive=True)
    assert abs(found["pooled"] - 0.5) < 0.15


def test_twins_of_one_group_never_stand_on_both_sides():
    # Features are the group's own name, labels random by group: only a torn group could be guessed.
    rng = np.random.default_rng(0)
    names = np.repeat(np.arange(60), 2)
    features = np.eye(60)[names]
    codes = rng.integers(0, 2, 60)[names]
    targets = codes[:, None] == np.arange(2)
    torn = [str(row) for row in range(120)]
    whole = [str(name) for name in names.tolist()]
    common = {"folds": 5, "seed": 0, "exclusive": True}
    assert cross_validate(features, targets, torn, accuracy, **common)["pooled"] > 0.75
    assert cross_validate(features, targets, whole, accuracy, **common)["pooled"] < 0.65


def test_the_score_of_a_row_left_out_is_that_of_a_head_fitted_without_it():
    features, targets, _ = records(40)
    scores = _Ridge(features, targets, 0.0).left_out
    for row in (0, 17, 39):
        rest = np.delete(np.arange(40), row)
        design = np.column_stack([features, np.ones(40)])
        weights = np.linalg.lstsq(design[rest], 2.0 * targets[rest] - 1, rcond=None)[0]
        np.testing.assert_allclose(scores[row], design[row] @ weights, atol=1e-6)


def test_there_are_never_more_folds_than_groups_and_one_group_is_too_few():
    features, targets, _ = records(6)
    assert (
        len(cross_validate(features, targets, list("aabbcc"), accuracy, folds=5, seed=0, exclusive=False)["folds"]) == 3
    )
    with pytest.raises(CrossValidationError, match="needs two groups"):
        cross_validate(features, targets, ["a"] * 6, accuracy, folds=5, seed=0, exclusive=False)


def test_a_fold_without_a_figure_is_left_out_and_counted():
    # Only two of six groups have a class at all: with a fold each, four folds have no macro F1 but what is called.
    features = np.repeat(np.arange(6.0), 5)[:, None]
    targets = np.zeros((30, 1), bool)
    targets[:5] = targets[5:10] = True
    groups = [str(row // 5) for row in range(30)]
    found = cross_validate(features, targets, groups, METRICS["macro_f1"], folds=6, seed=0, exclusive=False)
    known = [figure for figure in found["folds"] if not np.isnan(figure)]
    assert len(found["folds"]) == 6 and found["undefined_folds"] == 6 - len(known) > 0
    assert found["pooled"] <= max(known) and found["std"] == pytest.approx(np.std(known, ddof=1))


def test_classes_too_rare_to_be_in_every_fold_count_once_each():
    # Two common classes that the features tell, and sixty of one row each, which no head can have learnt.
    rng = np.random.default_rng(0)
    codes = np.r_[np.zeros(300, int), np.ones(300, int), np.arange(2, 62)]
    features = np.where(codes[:, None] == 1, [1.0, 0.0], [0.0, 1.0]) + rng.normal(size=(660, 2)) * 0.1
    targets = codes[:, None] == np.arange(62)
    groups = [str(row) for row in range(660)]
    found = cross_validate(features, targets, groups, METRICS["macro_f1"], folds=5, seed=0, exclusive=True)
    assert found["pooled"] < 2 / 62 < np.mean(found["folds"]) / 2


def test_no_fold_with_a_figure_is_said():
    features, _, groups = records(20)
    nothing = np.zeros((20, 2), bool)
    with pytest.raises(CrossValidationError, match="in none of the 4 folds has a record any class"):
        cross_validate(features, nothing, groups, METRICS["macro_f1"], folds=4, seed=0, exclusive=False)
