"""Temperature and ECE on cases that can be worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vlp.evaluation.calibration import calibration, choose_temperature, reflected, sigmoid, softmax
from vlp.evaluation.intervals import Bootstrap


def bootstrap(rows: int) -> Bootstrap:
    return Bootstrap([str(row) for row in range(rows)], seed=0, resamples=200)


def test_a_model_that_is_twice_too_sure_is_cooled_by_two():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20000, 4))
    chances = softmax(logits)
    targets = (chances.cumsum(1) > rng.random((20000, 1))).argmax(1)
    assert choose_temperature(2 * logits, targets) == pytest.approx(2, rel=0.05)
    assert choose_temperature(logits, targets) == pytest.approx(1, rel=0.05)


def test_labels_that_are_decided_one_by_one_share_a_temperature():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (8000, 3))
    targets = (rng.random((8000, 3)) < sigmoid(logits)).astype(np.int64)
    assert choose_temperature(3 * logits, targets) == pytest.approx(3, rel=0.05)


def test_nothing_has_no_temperature():
    with pytest.raises(ValueError, match="no temperature"):
        choose_temperature(np.empty((0, 3)), np.empty(0, np.int64))


def test_the_error_is_the_mean_gap_between_how_sure_and_how_often_right():
    # Ten at 0.9, of which five are right; ten at 0.5, of which five are right: gaps 0.4 and 0, half the rows each.
    confidence = np.repeat([0.9, 0.5], 10)
    correct = np.tile([1, 0], 10)
    found = calibration(confidence, correct, bootstrap(20))
    assert found.error == pytest.approx(0.2)
    assert found.interval[0] <= 0.2 <= found.interval[1]
    assert [(row["confidence"], row["accuracy"], row["size"]) for row in found.rows] == [
        (pytest.approx(0.5), 0.5, 10),
        (pytest.approx(0.9), 0.5, 10),
    ]


def test_an_interval_is_the_resamples_reflected_about_the_error_on_its_square():
    assert reflected(0.3, (0.2, 0.4)) == pytest.approx((np.sqrt(0.18 - 0.16), np.sqrt(0.18 - 0.04)))
    # Of a calibrated model the resamples lie above its error by as much as that does above the truth, which is 0.
    assert reflected(0.03, (0.035, 0.05)) == (0.0, 0.03)
    assert np.isnan(reflected(0.03, (float("nan"), float("nan")))).all()


@pytest.mark.parametrize("sharpness", [1.0, 1.5])
def test_an_interval_holds_its_own_error_always_and_the_true_one_nearly_always(sharpness: float):
    rng = np.random.default_rng(0)

    def drawn(rows: int) -> tuple[np.ndarray, np.ndarray]:
        logits = rng.normal(0, 2, rows)
        return sigmoid(sharpness * logits), (rng.random(rows) < sigmoid(logits)).astype(np.int64)

    many = Bootstrap(["one"] * 300_000, seed=0, resamples=1)  # for its error alone
    truth = calibration(*drawn(300_000), many).error if sharpness > 1 else 0.0
    resamples, covered = bootstrap(500), 0
    for _ in range(60):
        found = calibration(*drawn(500), resamples)
        assert found.interval[0] <= found.error <= found.interval[1]
        covered += found.interval[0] <= truth <= found.interval[1]
    assert covered >= 52  # fewer would be a surprise of 95 in a hundred


def test_decisions_on_many_labels_count_one_by_one():
    confidence = np.array([[0.9, 0.5], [0.9, 0.5]])
    correct = np.array([[1, 1], [1, 0]])
    assert calibration(confidence, correct, bootstrap(2)).error == pytest.approx((0.1 * 2 + 0) / 4)


def test_full_confidence_falls_into_the_last_bin():
    assert calibration(np.ones(4), np.ones(4), bootstrap(4)).error == 0.0
