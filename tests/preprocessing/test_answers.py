"""What tells two answers apart, and what does not."""

from __future__ import annotations

import pytest

from vlp.preprocessing.answers import plain


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Dog.", "dog"),
        ("two", "2"),
        ("1,000", "1000"),
        ("dont", "don't"),
        ("black & white", "black/white"),
        ("none", "0"),
        ("t-shirt", "t shirt"),
    ],
)
def test_what_tells_no_two_answers_apart(one: str, other: str) -> None:
    assert plain(one) == plain(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1.5", "15"), ("3:45", "345"), ("红色", "蓝色"), ("brown", "blue"), ("A", "the")]
)
def test_what_does(one: str, other: str) -> None:
    assert plain(one) != plain(other)
