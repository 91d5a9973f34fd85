"""Captions of other groups, as negatives for data that has no edits."""

from __future__ import annotations

import numpy as np

from vlp.tasks.matching.negatives import nearest_others, random_others

TEXTS = [np.array(ids) for ids in ([1, 2, 3], [1, 2, 4], [7, 8], [1, 2, 3], [1, 2, 3, 9])]
GROUPS = ["a", "b", "b", "c", "a"]
ALONE = [frozenset([text.tobytes()]) for text in TEXTS]


def test_a_random_other_is_of_another_group_and_of_other_words() -> None:
    for seed in range(20):
        found = random_others(TEXTS, ALONE, GROUPS, np.random.default_rng(seed))
        for index, other in enumerate(found):
            assert other is not None
            places = [i for i, text in enumerate(TEXTS) if text is other]
            assert all(GROUPS[place] != GROUPS[index] for place in places)
            assert other.tolist() != TEXTS[index].tolist()


def test_the_nearest_other_shares_most_words() -> None:
    # Text 0 of group a: text 3 is its own words, text 4 its own group; text 1 shares two of four.
    assert [None if other is None else other.tolist() for other in nearest_others(TEXTS, ALONE, GROUPS)] == [
        [1, 2, 4],
        [1, 2, 3],
        [1, 2, 3],
        [1, 2, 3, 9],
        [1, 2, 3],
    ]


def test_nothing_can_be_held_against_a_lone_group() -> None:
    texts = [np.array([1, 2]), np.array([3])]
    own = [frozenset([text.tobytes()]) for text in texts]
    assert nearest_others(texts, own, ["a", "a"]) == [None, None]
    assert random_others(texts, own, ["a", "a"], np.random.default_rng(0)) == [None, None]
    assert nearest_others([], [], []) == []


def test_what_is_also_said_of_the_image_itself_is_never_held_against_it() -> None:
    # The image of text 0 has the caption [1, 2, 4] as well, which stands here as another image's.
    own = [ALONE[0] | ALONE[1] | {b"not among these"}, *ALONE[1:]]
    nearest = nearest_others(TEXTS, own, GROUPS)[0]
    assert nearest is not None and nearest.tolist() == [7, 8]
    for seed in range(20):
        drawn = random_others(TEXTS, own, GROUPS, np.random.default_rng(seed))[0]
        assert drawn is not None and drawn.tolist() == [7, 8]
