from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from support.requests import LIMITS, requests
from vlp.drift.comparison import FEATURES, compare
from vlp.drift.records import DriftError

REFERENCE = requests(500, seed=1, reference=True)


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        ({"darker": 20.0}, {"red", "green", "blue"}),
        ({"longer": 3}, {"words"}),
        ({"unknown_share": 0.25}, {"unknown_share"}),
        ({"contrast": 5.0}, {"contrast"}),
        ({"score": 0.5}, {"score"}),
    ],
)
def test_a_shift_violates_what_it_shifts_and_nothing_else(shift, expected):
    found = compare(requests(100, seed=2, **shift), REFERENCE, LIMITS)
    assert set(found.violated) == expected
    assert [each.name for each in found.features] == list(FEATURES)


def test_what_is_not_shifted_violates_nothing():
    assert compare(requests(100, seed=2), REFERENCE, LIMITS).violated == ()


def test_a_difference_that_is_certain_but_small_is_none():
    limits = LIMITS.model_copy(update={"effect": 0.0})
    many, few = requests(8_000, seed=2, darker=2.0), requests(4_000, seed=3)
    assert "red" in compare(many, few, limits).violated
    assert compare(many, few, LIMITS).violated == ()


def test_a_word_that_the_reference_never_saw_is_counted():
    reference = [replace(row, unknown_share=0.0) for row in REFERENCE]
    found = compare(requests(100, seed=2, unknown_share=0.5), reference, LIMITS)
    assert "unknown_share" in found.violated


def test_features_without_any_spread_are_equal():
    flat = [replace(row, words=5, unknown_share=0.0) for row in requests(100, seed=2)]
    found = {each.name: each for each in compare(flat, [replace(row, at="") for row in flat], LIMITS).features}
    assert (found["words"].p, found["words"].distance, found["words"].violated) == (1.0, 0.0, False)


def test_the_scores_of_another_model_are_left_out():
    found = compare(requests(100, seed=2, bundle="b2", score=0.5), REFERENCE, LIMITS)
    assert found.left_out == ("score",)
    assert found.violated == ()


def test_nothing_cannot_be_compared():
    with pytest.raises(DriftError, match="cannot compare 0 served with 500 reference records"):
        compare([], REFERENCE, LIMITS)


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_the_level_promises():
    # 400 windows without drift, against 8 references: 4 false alarms are promised, more than 10 would be a surprise.
    windows, alarms = 0, 0
    for seed in range(8):
        reference = requests(500, seed=1_000 + seed, reference=True)
        served = requests(5_000, seed=2_000 + seed)
        for start in range(0, len(served), LIMITS.window):
            windows += 1
            alarms += bool(compare(served[start : start + LIMITS.window], reference, LIMITS).violated)
    assert windows == 400
    assert 0 < alarms <= windows * LIMITS.level + 3 * np.sqrt(windows * LIMITS.level)
