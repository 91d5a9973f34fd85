"""CIDEr-D against values that can be worked by hand."""

from __future__ import annotations

import math

import pytest

from vlp.tasks.captioning.cider import Cider
from vlp.tasks.captioning.ngrams import ngrams, tokens


def test_words_are_lower_case_without_punctuation() -> None:
    assert tokens("There is a RED-ish circle, (two) l'été_2!") == [
        "there",
        "is",
        "a",
        "red",
        "ish",
        "circle",
        "two",
        "l",
        "été",
        "2",
    ]
    assert ngrams(["a", "b", "a", "b"], 2) == {("a", "b"): 2, ("b", "a"): 1}


def test_a_telling_reference_said_again_scores_ten() -> None:
    cider = Cider([["one two three four"], ["five six seven eight"]])
    assert cider.scores(["one two three four", "five six seven eight"]) == pytest.approx([10.0, 10.0])


def test_what_every_image_has_is_worth_nothing() -> None:
    cider = Cider([["a red circle"], ["a red star"]])
    # "a", "red", "a red" are in both: idf 0. "circle" ×1, "red circle", "a red circle" match fully; no 4-gram exists.
    assert cider.scores(["a red", "a red star"]) == pytest.approx([0.0, 10.0 * 3 / 4])


def test_the_mean_is_over_references_and_the_length_is_penalised() -> None:
    cider = Cider([["x y", "z"], ["w"]])
    # Against "x y": 1-grams and 2-grams agree, the longer ones are missing: 2/4. Against "z": nothing.
    assert cider.scores(["x y", "w"])[0] == pytest.approx(10 * (2 / 4) / 2)
    # "z z z" against "z": the count 3 is clipped to 1: cosine 1/3; two words longer: exp(−4 / 72).
    repeated = cider.scores(["z z z", "w"])[0]
    assert repeated == pytest.approx(10 * math.exp(-4 / 72) * (1 / 3) / 4 / 2)


def test_rare_words_weigh_more() -> None:
    cider = Cider([["p q"], ["p r"], ["p s"], ["t u"]])
    # idf of p: ln(4/3), of q: ln 4.  "q" alone against "p q": q² / (|q| |pq|), one word shorter.
    p, q = math.log(4 / 3), math.log(4)
    expected = 10 * math.exp(-1 / 72) * (q * q / (q * math.hypot(p, q))) / 4
    assert cider.scores(["q", "", "", ""])[0] == pytest.approx(expected)


def test_an_image_without_a_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="without a reference"):
        Cider([["a"], []])


def test_a_character_is_a_word_where_no_spaces_are_written() -> None:
    assert tokens("一只狗, a Dog。カメ") == ["一", "只", "狗", "a", "dog", "カ", "メ"]
    cider = Cider([["一只白色的狗"], ["两个红色的圆"]])
    assert cider.scores(["一只白色的狗", "两个白色的圆"])[0] == pytest.approx(10.0)
    assert 0 < cider.scores(["一只白色的狗", "两个白色的圆"])[1] < 10
