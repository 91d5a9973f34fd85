"""The parser against scenes that were painted: it sees what is there, without having been told."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from vlp.data.scenes.oracle import truth
from vlp.data.scenes.render import render
from vlp.data.scenes.world import COLOURS, SHAPES, SIZES, Colour, Scene, Size, Thing, sample, stream
from vlp.tasks.generation.parser import parse


def looks(scene: Scene) -> Counter[tuple[str, str, str]]:
    return Counter((thing.size, thing.colour, thing.shape) for thing in scene.things)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("size", SIZES)
def test_every_outline_in_every_paint_is_seen_where_it_stands(colour: Colour, size: Size) -> None:
    for number, shape in enumerate(SHAPES):
        scene = Scene(64, (Thing(size, colour, shape, 20 + number * 4, 40 - number * 3, 6.0),), look=number)
        found = parse(render(scene))
        assert looks(found) == looks(scene)
        assert abs(found.things[0].x - scene.things[0].x) <= 1
        assert abs(found.things[0].y - scene.things[0].y) <= 1


def test_what_it_sees_in_drawn_scenes_makes_the_same_statements_true() -> None:
    whole, agree = [], []
    for index in range(60):
        scene = sample(stream(11, index, "scene"))
        found = parse(render(scene))
        whole.append(looks(found) == looks(scene))
        agree += [
            truth(found.to_json(), text) == truth(scene.to_json(), text)
            for text in ("there is a red circle", "there are two stars", "there are more squares than blue things")
        ]
    assert np.mean(whole) > 0.85
    assert np.mean(agree) > 0.97


def test_two_things_of_one_paint_that_touch_are_two() -> None:
    things = (Thing("large", "blue", "cross", 24, 30, 0.0), Thing("large", "blue", "cross", 40, 34, 0.0))
    assert looks(parse(render(Scene(64, things, look=3)))) == {("large", "blue", "cross"): 2}


def test_a_thing_partly_hidden_keeps_its_outline() -> None:
    things = (Thing("large", "green", "square", 30, 30, 0.0), Thing("small", "yellow", "circle", 40, 38, 0.0))
    found = looks(parse(render(Scene(64, things, look=5))))
    assert found == {("large", "green", "square"): 1, ("small", "yellow", "circle"): 1}


def test_bare_ground_is_an_empty_scene() -> None:
    for look in range(12):
        assert parse(render(Scene(64, (), look=look))).things == ()


def test_noise_shows_no_world() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    assert parse(grey).things == ()
