from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from vlp.data.scenes.oracle import referents
from vlp.data.scenes.questions import TYPES, ask, questions, regions
from vlp.data.scenes.statements import CompareNumber, CompareSize, Exists, Noun, Relation
from vlp.data.scenes.world import COLOURS, SHAPES, SIZES, Scene, Thing, sample, stream, visible_masks

SCENES = [sample(stream(9, index, "scene")) for index in range(2500)]
ASKED = [questions(stream(9, index, "questions"), scene, 4) for index, scene in enumerate(SCENES)]
ANSWERS = {kind: Counter(q.answer for asked in ASKED for q in asked if q.type == kind) for kind in TYPES}


def noun(text: str) -> Noun:
    """The description in ``the small red thing``, ``red circles``, …"""
    words = [{"little": "small", "big": "large", "crosses": "cross"}.get(word, word) for word in text.split()]
    words += [word.removesuffix("s") for word in words]
    pick = {
        name: next((word for word in words if word in known), None)
        for name, known in (("size", SIZES), ("colour", COLOURS), ("shape", SHAPES))
    }
    return Noun(**pick)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["exists", "compare", "relation"])
def test_yes_is_as_likely_as_no(kind: str) -> None:
    assert set(ANSWERS[kind]) == {"yes", "no"}
    assert abs(ANSWERS[kind]["yes"] / ANSWERS[kind].total() - 0.5) < 0.04


def test_no_number_is_the_answer_much_more_often_than_another() -> None:
    counts = ANSWERS["count"]
    assert max(counts.values()) / counts.total() < 0.32
    assert all(counts[number] / counts.total() > 0.15 for number in "0123")


@pytest.mark.parametrize("names", [COLOURS, SHAPES, SIZES])
def test_no_name_is_the_answer_much_more_often_than_another(names: tuple[str, ...]) -> None:
    counts = [ANSWERS["attribute"][name] for name in names]
    assert max(counts) < 1.5 * min(counts)


def test_numbers_are_what_the_scene_holds() -> None:
    for scene, asked in zip(SCENES, ASKED, strict=True):
        for question in asked:
            if question.type == "count":
                assert len(referents(noun(question.text.rstrip("?")), scene)) == int(question.answer), question


def test_attributes_are_those_of_the_one_thing_described() -> None:
    for scene, asked in zip(SCENES, ASKED, strict=True):
        for question in asked:
            if question.type == "attribute":
                text = question.text.rstrip("?").replace("small or large", "")
                (thing,) = referents(
                    noun(text.partition(" the ")[2].removeprefix("colour of").removeprefix("shape of")), scene
                )
                assert question.answer in (thing.size, thing.colour, thing.shape), question


def test_the_questions_of_a_scene_all_differ_and_so_mostly_do_their_types() -> None:
    assert all(len({q.text for q in asked}) == len(asked) == 4 for asked in ASKED)
    assert np.mean([len({q.type for q in asked}) for asked in ASKED]) > 3


@pytest.mark.parametrize(
    ("statement", "question"),
    [
        (Exists((Noun(colour="orange"),)), "is there an orange thing?"),
        (Relation(Noun("small"), "above", Noun("large")), "is the small thing above the large thing?"),
        (CompareNumber(Noun(shape="ring"), "as many", Noun("small")), "are there as many rings as small things?"),
        (CompareSize(Noun(shape="ring"), "larger", Noun(shape="star")), "is the ring larger than the star?"),
    ],
)
def test_a_statement_becomes_a_question(statement: Exists, question: str) -> None:
    assert ask(statement) == question


def test_a_region_is_the_visible_part_of_the_one_thing_described() -> None:
    for index, scene in enumerate(SCENES[:300]):
        for region in regions(stream(9, index, "regions"), scene, 3):
            (thing,) = referents(noun(region.expression), scene)
            mask = np.asarray(Image.open(io.BytesIO(region.mask)))
            assert mask.dtype == np.uint8
            assert set(np.unique(mask)) == {0, 255}
            assert ((mask > 0) == visible_masks(scene)[scene.things.index(thing)]).all()


def test_regions_are_of_different_things() -> None:
    for index, scene in enumerate(SCENES[:300]):
        found = regions(stream(9, index, "regions"), scene, 5)
        assert len({region.mask for region in found}) == len(found) <= len(scene.things)


def test_a_thing_with_a_twin_has_no_region() -> None:
    twins = tuple(Thing(size="small", colour="red", shape="ring", x=x, y=20, turn=0.0) for x in (15, 45))
    assert regions(stream(9, 0, "regions"), Scene(side=64, things=twins, look=0), 2) == ()
