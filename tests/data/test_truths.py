"""What the rules let pass stays true: the oracle of scenes says so."""

from __future__ import annotations

import random
from dataclasses import replace
from math import cos, radians, sin

import pytest

from support import scenes
from vlp.data.scenes import oracle
from vlp.data.scenes.world import COLOURS, Scene
from vlp.data.truths import may_lose_parts, may_recolour, may_rotate, mirrored
from vlp.records import Record

RECORDS = 150


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return scenes.records(RECORDS, seed=11)


def statements(record: Record) -> list[tuple[str, bool]]:
    """Everything said of a record's picture, and whether it is true."""
    found = [(caption.text, True) for caption in record.captions]
    return [*found, *((caption.negative, False) for caption in record.captions if caption.negative)]


def judged(scene: Scene, text: str) -> bool:
    truth = oracle.truth(scene.to_json(), text)
    assert truth is not None, text
    return truth


def test_a_mirrored_text_says_of_the_mirrored_scene_what_the_text_said_of_the_scene(records: list[Record]) -> None:
    swapped = 0
    for record in records:
        scene = Scene.from_json(record.annotation or "")
        mirror = replace(scene, things=tuple(replace(t, x=scene.side - 1 - t.x, turn=-t.turn) for t in scene.things))
        for text, true in statements(record):
            turned = mirrored(text)
            assert turned is not None, text
            assert mirrored(turned) == text
            assert judged(mirror, turned) is true, (text, turned)
            swapped += turned != text
    assert swapped > 50


def test_a_text_that_may_be_rotated_is_as_true_of_the_rotated_scene(records: list[Record]) -> None:
    may, rng = 0, random.Random(0)
    for record in records:
        scene = Scene.from_json(record.annotation or "")
        angle, centre = radians(rng.uniform(-30, 30)), scene.side / 2
        moved = []
        for thing in scene.things:
            x, y = thing.x - centre, thing.y - centre
            moved.append(
                replace(
                    thing,
                    x=round(centre + 0.7 * (x * cos(angle) - y * sin(angle))),
                    y=round(centre + 0.7 * (x * sin(angle) + y * cos(angle))),
                )
            )
        for text, true in statements(record):
            if may_rotate(text):
                assert judged(replace(scene, things=tuple(moved)), text) is true, text
                may += 1
    assert may > 300


def test_a_text_that_may_be_recoloured_is_as_true_of_the_scene_in_other_colours(records: list[Record]) -> None:
    may, rng = 0, random.Random(0)
    for record in records:
        scene = Scene.from_json(record.annotation or "")
        other = [replace(thing, colour=rng.choice(COLOURS)) for thing in scene.things]
        for text, true in statements(record):
            if may_recolour(text):
                assert judged(replace(scene, things=tuple(other)), text) is true, text
                may += 1
    assert may > 100


@pytest.mark.parametrize(
    ("text", "turned"),
    [
        ("A man on the left, a dog on the right.", "A man on the right, a dog on the left."),
        ("the leftmost cup is to the far right of it", "the rightmost cup is to the far left of it"),
        ("Left of the tree", "Right of the tree"),
        ("a bright upright piano", "a bright upright piano"),
        ("in the upper left corner", "in the upper right corner"),
        ("a dog", "a dog"),
        ("everyone has left the room", None),
        ("that is the right time", None),
        ("he waits at the right moment on the left", None),
        ("a sign that says stop", None),
        ("what time is it?", None),
        ("2:35", None),
        ("a cup right side up", None),
        ("a car has the right of way", None),
        ("what is left of the cake", None),
        ("only one slice is left of the pizza", None),
        ("there are two left of the cake", None),
        ("what remains left of the castle", None),
        ("a man on the right side of history", None),
        ("a slice on the left of the dish", "a slice on the right of the dish"),
        ("the dog is left of the cat", "the dog is right of the cat"),
        ("左边有一只狗", None),
        ("un chien à gauche", None),
    ],
)
def test_only_directions_are_mirrored_and_the_doubtful_is_left_alone(text: str, turned: str | None) -> None:
    assert mirrored(text) == turned


@pytest.mark.parametrize(
    ("text", "rotate", "recolour", "lose"),
    [
        ("a dog", True, True, True),
        ("a red dog", True, False, True),
        ("what colour is the dog?", True, False, True),
        ("a dog under a table", False, True, False),
        ("a plane taking off", False, True, False),
        ("the moon is low", False, True, False),
        ("two dogs", True, True, False),
        ("there is no dog", True, True, False),
        ("the dog at the corner", False, True, False),
        ("a fir tree in the night", True, False, False),
        ("a fir tree that night", True, False, True),
        ("a multicolored kite", True, False, True),
        ("greens and blues", True, False, False),
        ("a burgundy dress", True, False, True),
        ("twelve eggs", True, True, False),
        ("twenty-one sheep", True, True, False),
        ("dozens of birds", True, True, False),
        ("a single apple", True, True, False),
        ("there isn't a dog", True, True, False),
        ("neither dog nor cat", True, True, False),
        ("a dog inside the car", True, True, False),
        ("a cat by the sofa", True, True, False),
        ("the tower leans", False, True, False),
        ("is the picture crooked?", False, True, False),
        ("一只狗", False, False, False),
    ],
)
def test_what_a_text_speaks_of_decides_what_may_be_done(text: str, rotate: bool, recolour: bool, lose: bool) -> None:
    assert (may_rotate(text), may_recolour(text), may_lose_parts(text)) == (rotate, recolour, lose)


def test_rules_are_words_and_not_parts_of_words() -> None:
    assert may_recolour("a hundred tanks") and may_lose_parts("a nocturnal animal")
