"""The oracle's verdict on captions."""

from __future__ import annotations

import numpy as np

from vlp.data.scenes.world import Scene, Thing
from vlp.tasks.captioning import faithful

SCENE = Scene(
    64, (Thing("large", "red", "circle", 16, 32, 0.0), Thing("small", "blue", "star", 48, 32, 0.0)), 1
).to_json()


def test_true_false_and_unparsable_captions() -> None:
    texts = ["there is a red circle", "the star is left of the circle", "a lovely red circle", ""]
    assert faithful.outcomes(texts, [SCENE] * 4).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_pictures_without_a_scene_are_not_judged() -> None:
    assert np.isnan(faithful.outcomes(["a red circle", "a red circle"], [None, '{"format": "other"}'])).all()


def test_a_caption_is_sorted_by_what_it_speaks_of() -> None:
    texts = ["there is a red circle", "there are two stars", "the star is below the ring", "hello"]
    assert [faithful.kind(text) for text in texts] == ["exists", "count", "relation", "unparsed"]


def test_what_an_empty_picture_makes_true_says_nothing_of_what_is_there() -> None:
    for text in (
        "there is no black ring",
        "the star is not large",
        "there are at most two stars",
        "there are zero rings",
    ):
        assert not faithful.says_what_is_there(text), text
    for text in ("there are as many rings as stars", "hello", ""):
        assert not faithful.says_what_is_there(text), text
    for text in ("there is a red circle", "there are two stars", "there are at least two stars", "the star is large"):
        assert faithful.says_what_is_there(text), text
    for text in ("the star is right of the circle", "there are more rings than stars"):
        assert faithful.says_what_is_there(text), text
