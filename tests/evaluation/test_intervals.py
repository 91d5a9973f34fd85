"""Intervals: groups move together, a seed repeats, the coverage is what it says."""

from __future__ import annotations

import time

import numpy as np
import pytest

from vlp.evaluation.binary import Ranking
from vlp.evaluation.intervals import Bootstrap


def test_rows_of_one_group_are_resampled_together() -> None:
    # Two groups, all right and all wrong: a resample is AA, AB, BA or BB, so its mean is 1, ½ or 0.
    bootstrap = Bootstrap(["a", "a", "b", "b"], seed=0)
    right = np.array([1, 1, 0, 0])
    assert bootstrap.ratio(right) == (0.0, 1.0)
    seen: set[float] = set()

    def watched(weights: np.ndarray) -> np.ndarray:
        seen.update((weights @ right / 4).tolist())
        return np.zeros(len(weights))

    bootstrap.weighted(watched)
    assert seen == {0.0, 0.5, 1.0}


def test_a_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.arange(100) % 7
    groups = [str(i) for i in range(100)]
    assert Bootstrap(groups, seed=1).ratio(values) == Bootstrap(groups, seed=1).ratio(values)
    assert Bootstrap(groups, seed=1).ratio(values) != Bootstrap(groups, seed=2).ratio(values)


def test_grouped_rows_give_a_wider_interval_than_the_same_rows_taken_as_independent() -> None:
    right = np.repeat(np.random.default_rng(0).integers(0, 2, 100), 10)
    low, high = Bootstrap([str(i // 10) for i in range(1000)], seed=0).ratio(right)
    naive_low, naive_high = Bootstrap([str(i) for i in range(1000)], seed=0).ratio(right)
    assert high - low > 2.5 * (naive_high - naive_low)  # √10 ≈ 3.2


def test_the_weighted_way_and_the_way_by_sums_agree() -> None:
    generator = np.random.default_rng(3)
    values, sizes = generator.normal(size=500), generator.uniform(1, 2, size=500)
    bootstrap = Bootstrap(generator.integers(0, 60, 500).astype(str), seed=4)
    by_weights = bootstrap.weighted(lambda weights: (weights @ values) / (weights @ sizes))
    assert bootstrap.ratio(values, sizes) == pytest.approx(by_weights, rel=1e-5)


def test_chunks_of_resamples_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    targets, scores = generator.integers(0, 2, 200), generator.normal(size=200)
    bootstrap = Bootstrap([str(i) for i in range(200)], seed=4)
    whole = bootstrap.weighted(Ranking(targets, scores).roc_auc)
    monkeypatch.setattr("vlp.evaluation.intervals._CELLS", 7 * 200)
    assert bootstrap.weighted(Ranking(targets, scores).roc_auc) == whole


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        means = generator.random(80)  # each group's own chance of being right
        right = (generator.random((80, 5)) < means[:, None]).reshape(-1)
        low, high = Bootstrap(np.repeat(np.arange(80), 5).astype(str), seed=trial, resamples=300).ratio(right)
        covered += low <= 0.5 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_one_group_says_nothing_about_spread() -> None:
    assert np.isnan(Bootstrap(["a", "a"], seed=0).ratio(np.array([1, 0]))).all()


def test_a_few_resamples_without_the_statistic_are_passed_over() -> None:
    bootstrap = Bootstrap([str(row) for row in range(30)], seed=0)
    # Precision where 4 of 30 rows were called true: one resample in a hundred draws none of them.
    called = np.arange(30) < 4
    low, high = bootstrap.ratio(called & (np.arange(30) != 1), called)
    assert 0 <= low < 0.75 < high == 1


def test_what_hangs_on_one_row_has_no_interval() -> None:
    bootstrap = Bootstrap([str(row) for row in range(30)], seed=0)
    # A third of the resamples lack the one row that was called; in the others it is right, every time.
    one = np.arange(30) == 0
    assert np.isnan(bootstrap.ratio(one, one)).all()
    targets, scores = one.astype(np.int64), np.linspace(1, 0, 30)
    assert np.isnan(bootstrap.weighted(Ranking(targets, scores).roc_auc)).all()
    assert np.isnan(bootstrap.ratio(np.zeros(30), np.zeros(30))).all()


def test_nothing_to_resample_is_refused() -> None:
    with pytest.raises(ValueError, match="0 rows"):
        Bootstrap([], seed=0)
    with pytest.raises(ValueError, match="3 values for 2 resampled rows"):
        Bootstrap(["a", "b"], seed=0).ratio(np.zeros(3))


@pytest.mark.slow
def test_ten_thousand_rows_are_quick() -> None:
    generator = np.random.default_rng(0)
    targets, scores = generator.integers(0, 2, 10_000), generator.normal(size=10_000)
    start = time.process_time()
    bootstrap = Bootstrap(generator.integers(0, 2500, 10_000).astype(str), seed=0)
    bootstrap.ratio(targets)
    mean = time.process_time() - start
    bootstrap.weighted(Ranking(targets, scores).roc_auc)
    ranking = time.process_time() - start - mean
    assert mean < 0.5
    assert ranking < 4.0
