"""Captions of other groups, as negatives for data that has no edits."""

from __future__ import annotations

import numpy as np

from vlp.tasks.matching.negatives import nearest_others, random_others

TEXTS = [np.array(ids) for ids in ([1, 2, 3], [1, 2, 4], [7, 8], [1, 2, 3], [1, 2, 3, 9])]
GROUPS = ["a", "b", "b", "c", "a"]


def test_a_random_other_is_of_another_group_and_of_other_words() -> None:
    for seed in range(20):
        found = random_others(TEXTS, GROUPS, np.random.default_rng(seed))
        for index, other in enumerate(found):
            assert other is not None
            places = [i for i, text in enumerate(TEXTS) if text is other]
            assert all(GROUPS[place] != GROUPS[index] for place in places)
            assert other.tolist() != TEXTS[index].tolist()


def test_the_nearest_other_shares_most_words() -> None:
    # Text 0 of group a: text 3 is its own words, text 4 its own group; text 1 shares two of four.
    assert [None if other is None else other.tolist() for other in nearest_others(TEXTS, GROUPS)] == [
        [1, 2, 4],
        [1, 2, 3],
        [1, 2, 3],
        [1, 2, 3, 9],
        [1, 2, 3],
    ]


def test_nothing_can_be_held_against_a_lone_group() -> None:
    texts = [np.array([1, 2]), np.array([3])]
    assert nearest_others(texts, ["a", "a"]) == [None, None]
    assert random_others(texts, ["a", "a"], np.random.default_rng(0)) == [None, None]
    assert nearest_others([], []) == []
