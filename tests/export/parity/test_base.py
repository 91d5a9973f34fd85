"""Parity: figures that a reader can follow, and a refusal beyond them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vlp.export.parity.base import Comparison, ExportParams, Parity, ParityError, check, measure, spread

LIMITS = ExportParams(samples=1, max_abs_diff=0.01, max_metric_drop=0.0)


def comparison(by_torch: list[list[float]], by_runtime: list[list[float]]) -> Comparison:
    """Requests 0, 1, …; the metric is the share of scores of at least ½."""
    return Comparison(
        requests=range(len(by_torch)),
        by_torch=lambda request: np.array(by_torch[request]),
        by_runtime=lambda request: np.array(by_runtime[request]),
        metric=lambda scores: float((scores >= 0.5).mean()),
    )


def found(max_abs_diff: float, metric_drop: float) -> Parity:
    return Parity(max_abs_diff=max_abs_diff, metric_drop=metric_drop, torch_ms=2.0, runtime_ms=0.5)


def test_the_largest_difference_counts_and_the_metric_is_of_all_scores() -> None:
    parity = measure(comparison([[0.9, 0.5], [0.1]], [[0.9, 0.47], [0.1]]))
    assert parity.max_abs_diff == 0.03
    assert parity.metric_drop == pytest.approx(1 / 3, abs=1e-6)
    assert parity.exact == {"max_abs_diff": 0.03, "metric_drop": 0.333333}
    assert parity.torch_ms > 0


def test_a_difference_is_rounded_up_to_one_digit_and_noise_is_one_millionth() -> None:
    assert measure(comparison([[0.5]], [[0.500_021]])).max_abs_diff == 3e-5
    assert measure(comparison([[0.5]], [[0.500_000_01]])).max_abs_diff == 1e-6
    assert measure(comparison([[0.5]], [[0.5]])).max_abs_diff == 1e-6
    assert measure(comparison([[0.0]], [[0.98]])).max_abs_diff == 1.0


def test_the_speedup_is_of_one_request() -> None:
    assert found(0, 0).timing == {"latency_ms_p50": 0.5, "speedup_vs_torch": 4.0}


def test_within_the_limits_nothing_happens() -> None:
    check("matching", found(0.01, 0.0), LIMITS)
    check("matching", found(0.001, -0.5), LIMITS)


@pytest.mark.parametrize(
    ("parity", "message"),
    [
        (found(0.02, 0.0), r"matching: max_abs_diff .* is 0\.02, allowed 0\.01"),
        (found(0.001, 0.25), r"matching: max_metric_drop .* is 0\.25, allowed 0 "),
        (found(math.nan, 0.0), "matching: max_abs_diff .* is nan"),
    ],
)
def test_beyond_a_limit_the_figure_and_the_limit_are_named(parity: Parity, message: str) -> None:
    with pytest.raises(ParityError, match=message):
        check("matching", parity, LIMITS)


def test_samples_are_spread_over_all_rows() -> None:
    assert spread(9, 3) == [0, 4, 8]
    assert spread(2, 5) == [0, 1]
    assert spread(5, 1) == [0]
    assert spread(0, 3) == []
