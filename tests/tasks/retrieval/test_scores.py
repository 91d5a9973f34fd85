"""The order of two stages, on matrices that can be checked by eye."""

from __future__ import annotations

import numpy as np

from vlp.evaluation.ranking import ranks
from vlp.tasks.retrieval.scores import IMAGE_TO_TEXT, TEXT_TO_IMAGE, Scores, directions, shortlist

SIMILARITY = np.array([[4.0, 3.0, 1.0], [1.0, 2.0, 3.0]])


def test_the_shortlist_is_the_best_of_either_side() -> None:
    assert shortlist(SIMILARITY, 1).tolist() == [[True, True, False], [False, False, True]]
    assert not shortlist(SIMILARITY, 0).any()
    assert shortlist(SIMILARITY, 9).all()


def test_the_second_stage_orders_the_first_ones_only() -> None:
    matching = np.array([[-9.0, -1.0, np.nan], [np.nan, -1.0, -0.5]])
    order = Scores(SIMILARITY, matching).ranked(weight=1.0, rerank=2)
    assert np.argsort(-order, axis=1).tolist() == [[1, 0, 2], [2, 1, 0]]


def test_without_weight_or_shortlist_the_first_stage_stands() -> None:
    matching = np.full((2, 3), -5.0)
    for weight, rerank in ((0.0, 3), (0.0, 2), (4.0, 0)):
        order = Scores(SIMILARITY, matching).ranked(weight, rerank)
        assert np.argsort(-order, axis=1).tolist() == np.argsort(-SIMILARITY, axis=1).tolist()


def test_seen_from_the_texts_everything_is_turned() -> None:
    scores, right = Scores(SIMILARITY, -SIMILARITY), np.array([[1, 0, 0], [0, 0, 1]], bool)
    seen = directions(scores, right)
    assert seen[IMAGE_TO_TEXT] == (scores, right) or seen[IMAGE_TO_TEXT][0] is scores
    turned, answers = seen[TEXT_TO_IMAGE]
    assert turned.similarity.tolist() == SIMILARITY.T.tolist()
    assert turned.matching.tolist() == (-SIMILARITY.T).tolist() and answers.tolist() == right.T.tolist()


def test_of_equal_candidates_the_first_queries_have_no_advantage() -> None:
    # Nothing is told apart, and query i's answer stands at place i. Three of ten come first, as by chance, but by lot.
    same = np.zeros((10, 10))
    placed = ranks(Scores(same, same).ranked(weight=1.0, rerank=3), np.eye(10, dtype=bool))
    first = np.flatnonzero(placed <= 3).tolist()
    assert len(first) == 3 and first != [0, 1, 2]
