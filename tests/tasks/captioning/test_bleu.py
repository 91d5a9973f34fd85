"""BLEU-4 against values that can be worked by hand, and the example of the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vlp.tasks.captioning import bleu


def corpus(*pairs: tuple[str, list[str]]) -> float:
    return bleu.score(np.stack([bleu.statistics(*pair) for pair in pairs]).sum(0))


def test_a_reference_said_again_scores_one() -> None:
    assert corpus(("there is a red circle", ["two stars", "There is a red circle."])) == 1.0


def test_without_four_words_in_a_row_there_is_no_score() -> None:
    assert corpus(("there is a red star", ["there is a blue star"])) == 0.0


def test_matches_are_clipped_as_in_the_paper() -> None:
    # Papineni et al., example 2: "the" seven times, at most twice in a reference: 2 of 7.
    references = ["the cat is on the mat", "there is a cat on the mat"]
    sums = bleu.statistics("the the the the the the the", references)
    assert sums[0] == 2 and sums[4] == 7
    assert sums[-2:].tolist() == [7, 7]


def test_precisions_are_multiplied_and_short_captions_pay() -> None:
    # 5 of 5 words, 4 of 4 pairs, 3 of 3 triples, 2 of 2 quadruples; 5 words for 7.
    found = corpus(("the picture shows two red", ["the picture shows two red circles there"]))
    assert found == pytest.approx(math.exp(1 - 7 / 5))
    # Longer than its reference: no penalty, but 1-grams 5/6, 2-grams 4/5, 3-grams 3/4, 4-grams 2/3.
    found = corpus(("the picture shows two red circles", ["the picture shows two red"]))
    assert found == pytest.approx((5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25)


def test_the_nearest_length_counts_and_of_two_the_shorter() -> None:
    assert bleu.statistics("a b c d e", ["a b c", "a b c d e f g", "a"])[-1] == 3


def test_counts_are_summed_over_the_corpus_before_they_are_divided() -> None:
    one, two = ("a b c d", ["a b c d"]), ("a b c d e f", ["a b c d x y"])
    # 1-grams 8/10, 2-grams 6/8, 3-grams 4/6, 4-grams 2/4.
    assert corpus(one, two) == pytest.approx((8 / 10 * 6 / 8 * 4 / 6 * 2 / 4) ** 0.25)


def test_resamples_weigh_whole_captions() -> None:
    each = np.stack([bleu.statistics("a b c d", ["a b c d"]), bleu.statistics("x", ["a b c d"])])
    np.testing.assert_allclose(bleu.scores(np.array([[2.0, 0.0], [0.0, 2.0]]), each), [1.0, 0.0])
