from __future__ import annotations

import numpy as np
import pytest

from vlp.data.scenes.render import PAINT, render
from vlp.data.scenes.world import COLOURS, Scene, Thing, sample, stream, visible_masks


def test_a_picture_is_a_function_of_its_scene() -> None:
    scene = sample(stream(1, 1, "scene"))
    assert (render(scene) == render(scene)).all()


def test_a_picture_has_the_side_that_the_scene_has() -> None:
    for side in (48, 64, 96):
        picture = render(sample(stream(1, 1, "scene"), side))
        assert picture.shape == (side, side, 3)
        assert picture.dtype == np.uint8


def test_another_look_changes_ground_and_noise_but_not_the_things() -> None:
    thing = Thing(size="large", colour="red", shape="square", x=32, y=32, turn=0.0)
    one, two = (render(Scene(side=64, things=(thing,), look=look)).astype(int) for look in (1, 2))
    assert np.abs(one[:16] - two[:16]).mean() > 3
    assert np.abs(one[28:36, 28:36] - two[28:36, 28:36]).max() < 80


def test_every_colour_is_nearest_to_its_own_paint() -> None:
    """Also in shade, in noise and on the smallest ring: the name of a colour is never in doubt."""
    paints = np.array([PAINT[name] for name in COLOURS], dtype=float)
    for index in range(300):
        scene = sample(stream(2, index, "scene"))
        picture = render(scene).astype(float)
        for thing, mask in zip(scene.things, visible_masks(scene), strict=True):
            shown = np.median(picture[mask], axis=0)
            nearest = COLOURS[int(np.linalg.norm(paints - shown, axis=1).argmin())]
            assert nearest == thing.colour, (scene, thing)


def test_the_ground_is_dull_and_of_middling_brightness() -> None:
    for index in range(100):
        scene = sample(stream(5, index, "scene"))
        picture = render(scene).astype(float)
        bare = ~np.logical_or.reduce(visible_masks(scene))
        bare[1:] &= bare[:-1]
        mean = picture[bare].mean(axis=0)
        assert mean.max() - mean.min() < 45
        assert 60 < mean.mean() < 200


def test_edges_are_anti_aliased() -> None:
    thing = Thing(size="large", colour="white", shape="circle", x=32, y=32, turn=0.0)
    row = render(Scene(side=64, things=(thing,), look=3))[32].astype(int).mean(axis=1)
    ground, paint = row[10:20].mean(), row[30:34].mean()
    between = (row > ground + 0.2 * (paint - ground)) & (row < ground + 0.8 * (paint - ground))
    assert between[20:45].any()


@pytest.mark.parametrize("look", range(12))
def test_every_texture_leaves_the_picture_unclipped(look: int) -> None:
    picture = render(Scene(side=64, things=(), look=look))
    assert picture.min() > 0
    assert picture.max() < 255
