"""An answer is as right as people agree with it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.tasks.vqa.consensus import LEAST, consensus


@pytest.mark.parametrize(("agree", "worth"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_of_ten_people_the_published_values(agree: int, worth: float) -> None:
    assert consensus("red", ["red"] * agree + ["blue"] * (10 - agree)) == pytest.approx(worth)


@given(st.lists(st.sampled_from(["red", "blue", "2"]), min_size=LEAST, max_size=10))
def test_it_is_the_mean_over_all_sets_of_all_but_one(people: list[str]) -> None:
    sets = itertools.combinations(people, len(people) - 1)
    whole = [min(1.0, some.count("red") / 3) for some in sets]
    assert consensus("red", people) == pytest.approx(sum(whole) / len(whole))
