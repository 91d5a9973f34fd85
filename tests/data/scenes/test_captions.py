from __future__ import annotations

from collections import Counter

import pytest

from vlp.data.scenes.captions import KINDS, KindMix, captions
from vlp.data.scenes.oracle import truth
from vlp.data.scenes.world import sample, stream
from vlp.params import ParamsError, parse

MIX = KindMix()
SCENES = [sample(stream(8, index, "scene")) for index in range(1000)]
TOLD = [captions(stream(8, index, "captions"), scene, 4, MIX) for index, scene in enumerate(SCENES)]


def test_every_caption_is_true_and_every_negative_is_false_in_the_oracles_reading_of_the_words() -> None:
    for scene, told in zip(SCENES, TOLD, strict=True):
        for caption in told:
            assert truth(scene.to_json(), caption.text) is True, caption
            assert truth(scene.to_json(), caption.negative or "") is False, caption


def test_the_captions_of_a_scene_all_differ() -> None:
    for told in TOLD:
        assert len({caption.text for caption in told}) == len(told)


def test_every_scene_has_as_many_captions_as_asked_for() -> None:
    assert sum(len(told) == 4 for told in TOLD) >= 0.99 * len(TOLD)


def test_even_one_thing_is_worth_eight_captions() -> None:
    single = next(scene for scene in SCENES if len(scene.things) == 1)
    assert len(captions(stream(8, 0, "captions"), single, 8, MIX)) >= 6


def test_kinds_come_about_as_often_as_the_mix_says() -> None:
    counts = Counter(caption.kind for told in TOLD for caption in told)
    assert set(counts) == set(KINDS)
    for kind, weight in zip(KINDS, MIX.weights(), strict=True):
        assert abs(counts[kind] / counts.total() - weight) < 0.1


def test_a_kind_of_weight_nought_is_not_drawn() -> None:
    mix = KindMix(attribute=1, relation=0, count=1, comparison=0, negation=0)
    told = [captions(stream(8, index, "captions"), scene, 4, mix) for index, scene in enumerate(SCENES[:100])]
    assert {caption.kind for some in told for caption in some} == {"attribute", "count"}


def test_captions_are_a_function_of_scene_and_stream() -> None:
    assert captions(stream(8, 0, "captions"), SCENES[0], 4, MIX) == TOLD[0]


def test_few_words_say_it_all() -> None:
    words = {word for told in TOLD for caption in told for word in f"{caption.text} {caption.negative}".split()}
    assert len(words) <= 150


@pytest.mark.parametrize("bad", [{"attribute": -0.1}, {"colour": 1.0}, dict.fromkeys(KINDS, 0.0)])
def test_an_impossible_mix_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ParamsError):
        parse(KindMix, bad, "params.yaml: sources.scenes.kinds")
