"""Ranks and recalls on matrices that can be checked by eye."""

from __future__ import annotations

import numpy as np
import pytest

from vlp.evaluation import ranking
from vlp.evaluation.intervals import Bootstrap

RIGHT = np.array([[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]], bool)
SCORES = np.array([[0.9, 0.1, 0.2, 0.3], [0.8, 0.5, 0.1, 0.7], [0.4, 0.3, 0.1, 0.2]])


def test_the_best_of_several_right_answers_counts() -> None:
    assert ranking.ranks(SCORES, RIGHT).tolist() == [1, 2, 4]


def test_a_wrong_answer_of_the_same_score_stands_before_a_right_one() -> None:
    assert ranking.ranks(np.zeros((3, 4)), RIGHT).tolist() == [4, 3, 4]


@pytest.mark.parametrize(
    ("scores", "right", "message"),
    [
        (SCORES[:, :3], RIGHT, "one score a query and candidate"),
        (np.where(SCORES > 0.8, np.nan, SCORES), RIGHT, "not a finite number"),
        (SCORES, RIGHT & (np.arange(3) != 1)[:, None], "query 1 has no right candidate"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores: np.ndarray, right: np.ndarray, message: str) -> None:
    with pytest.raises(ranking.RankingError, match=message):
        ranking.ranks(scores, right)


def test_recalls_have_an_interval_each() -> None:
    found = np.array([1, 1, 3, 7, 20])
    report = ranking.recalls(found, "x", Bootstrap(list("abcde"), seed=0, resamples=200))
    assert [report[f"x_r{cut}"] for cut in (1, 5, 10)] == [0.4, 0.6, 0.8]
    low, high = report["x_r5_ci95"]  # type: ignore[misc]
    assert low < 0.6 < high


def test_chance_is_what_shuffling_gives() -> None:
    right = np.array([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0]], bool)
    assert ranking.random_recall(right) == pytest.approx((2 / 5 + 1 / 5) / 2)
    # Two draws miss both of two in 3/5 · 2/4 of the cases, one of five in 4/5 · 3/4.
    assert ranking.random_recall(right, 2) == pytest.approx(1 - (0.3 + 0.6) / 2)
    rng = np.random.default_rng(0)
    shuffled = [ranking.ranks(rng.random(right.shape), right) <= 2 for _ in range(4000)]
    assert np.mean(shuffled) == pytest.approx(ranking.random_recall(right, 2), abs=0.02)
    assert ranking.random_recall(right, 9) == 1.0


def test_the_curve_rises_to_all() -> None:
    assert ranking.recall_curve(np.array([1, 3]), 3) == [
        {"k": 1, "recall": 0.5},
        {"k": 2, "recall": 0.5},
        {"k": 3, "recall": 1.0},
    ]
