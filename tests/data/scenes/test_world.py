from __future__ import annotations

import json
from collections import Counter

import pytest

from vlp.data.scenes.world import (
    COLOURS,
    LEAST_VISIBLE,
    SHAPES,
    SIZES,
    Scene,
    SceneError,
    Thing,
    sample,
    stream,
    visible_masks,
    visible_shares,
)

SCENES = [sample(stream(3, index, "scene")) for index in range(600)]


def test_the_same_seed_draws_the_same_scene_and_another_index_another_one() -> None:
    assert sample(stream(1, 5, "scene")) == sample(stream(1, 5, "scene"))
    assert sample(stream(1, 5, "scene")) != sample(stream(1, 6, "scene"))


def test_streams_of_one_record_are_independent_of_each_other() -> None:
    assert stream(1, 5, "scene").random() != stream(1, 5, "captions").random()


def test_scenes_hold_one_to_five_things() -> None:
    assert {len(scene.things) for scene in SCENES} == {1, 2, 3, 4, 5}


def test_two_to_five_things_are_equally_likely() -> None:
    counts = Counter(len(scene.things) for scene in SCENES)
    assert all(0.17 < counts[number] / len(SCENES) < 0.28 for number in (2, 3, 4, 5))


@pytest.mark.parametrize(("field", "names"), [("shape", SHAPES), ("colour", COLOURS), ("size", SIZES)])
def test_no_name_is_favoured(field: str, names: tuple[str, ...]) -> None:
    counts = Counter(getattr(thing, field) for scene in SCENES for thing in scene.things)
    total = sum(counts.values())
    assert set(counts) == set(names)
    assert all(0.75 < counts[name] * len(names) / total < 1.25 for name in names)


def test_crowding_favours_no_size() -> None:
    full = [thing.size for scene in SCENES if len(scene.things) == 5 for thing in scene.things]
    assert abs(full.count("small") / len(full) - 0.5) < 0.06


@pytest.mark.parametrize("side", [48, 64, 96])
def test_things_lie_inside_the_picture_and_mostly_in_view(side: int) -> None:
    for index in range(100):
        scene = sample(stream(4, index, "scene"), side)
        assert all(scene.radius(t) <= t.x <= side - scene.radius(t) for t in scene.things)
        assert all(scene.radius(t) <= t.y <= side - scene.radius(t) for t in scene.things)
        assert min(visible_shares(scene)) >= LEAST_VISIBLE


def test_some_things_are_partly_hidden() -> None:
    assert sum(min(visible_shares(scene)) < 1 for scene in SCENES) > 0.2 * len(SCENES)


def test_the_nearer_thing_hides_the_farther_one() -> None:
    far, near = (Thing(size="large", colour="red", shape="square", x=x, y=32, turn=0.0) for x in (26, 38))
    behind, before = visible_masks(Scene(side=64, things=(far, near), look=0))
    assert not (behind & before).any()
    assert before[32, 38]
    assert before.sum() > behind.sum()


def test_a_scene_survives_its_json() -> None:
    for scene in SCENES[:50]:
        assert Scene.from_json(scene.to_json()) == scene


def test_the_json_names_its_format() -> None:
    assert json.loads(SCENES[0].to_json())["format"] == "scenes"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "format"),
        ('{"format": "coco"}', "format"),
        ('{"format": "scenes", "side": 64}', "things"),
        ('{"format": "scenes", "side": 64, "look": 1, "things": [{"size": "small"}]}', "missing"),
        (SCENES[0].to_json().replace(SCENES[0].things[0].colour, "beige"), "beige"),
    ],
)
def test_a_text_that_is_no_scene_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        Scene.from_json(text)
