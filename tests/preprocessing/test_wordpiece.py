from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.preprocessing.wordpiece import train

COUNTS = st.dictionaries(st.text("abc", min_size=1, max_size=6), st.integers(1, 9), min_size=1, max_size=8)


def plain(counts: dict[str, int], size: int, min_frequency: int) -> list[str]:
    """The same by counting everything anew for each merge, slow and simple."""
    words = {word: [word[0], *("##" + char for char in word[1:])] for word in counts}
    pieces = sorted({piece for parts in words.values() for piece in parts})
    while len(pieces) < size:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in words.items():
            for index in range(len(parts) - 1):
                pairs[parts[index], parts[index + 1]] += counts[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < min_frequency:
            break
        merged = best[0] + best[1].removeprefix("##")
        if merged not in pieces:
            pieces.append(merged)
        for parts in words.values():
            index = 0
            while index + 1 < len(parts):
                if (parts[index], parts[index + 1]) == best:
                    parts[index : index + 2] = [merged]
                index += 1
    return pieces


def test_the_most_frequent_pair_is_joined_first() -> None:
    assert train({"aab": 5, "ab": 1}, 6, 1) == ["##a", "##b", "a", "##ab", "aab", "ab"]


def test_a_tie_goes_to_the_first_in_the_alphabet() -> None:
    assert train({"xy": 3, "ab": 3}, 5, 1) == ["##b", "##y", "a", "x", "ab"]


def test_rare_pairs_are_not_learnt() -> None:
    assert train({"ab": 1}, 10, 2) == ["##b", "a"]


def test_too_many_characters_are_an_error() -> None:
    with pytest.raises(ValueError, match="too small for the 3 characters"):
        train({"abc": 1}, 2, 1)


@settings(max_examples=300, deadline=None)
@given(counts=COUNTS, size=st.integers(6, 30), min_frequency=st.integers(1, 3))
def test_counting_by_difference_learns_what_counting_anew_learns(
    counts: dict[str, int], size: int, min_frequency: int
) -> None:
    assert train(counts, size, min_frequency) == plain(counts, size, min_frequency)


def test_the_order_of_the_words_changes_nothing() -> None:
    rng = random.Random(1)
    counts = {"".join(rng.choices("abcde", k=rng.randint(1, 7))): rng.randint(1, 4) for _ in range(200)}
    shuffled = list(counts.items())
    rng.shuffle(shuffled)
    assert train(counts, 150, 2) == train(dict(shuffled), 150, 2)
