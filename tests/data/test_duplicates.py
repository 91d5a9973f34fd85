from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from vlp.data.duplicates import near_pairs, shifted_distance
from vlp.data.quality import thumbnail
from vlp.data.scenes.render import render
from vlp.data.scenes.world import sample, stream
from vlp.preprocessing.statistics import appearance

DISTANCE = 5.0
Pictures = list[np.ndarray]


@pytest.fixture(scope="module")
def scenes() -> Pictures:
    return [render(sample(stream(5, index, "near"))) for index in range(300)]


def pairs(pictures: Pictures) -> list[tuple[int, int]]:
    thumbnails = np.stack([np.frombuffer(thumbnail(each), np.uint8) for each in pictures])
    appearances = np.array([appearance(each) for each in pictures])
    return [(one, two) for one, two, _ in near_pairs(thumbnails, appearances, DISTANCE)]


def jpeg(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(pixels: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))

    return change


def by_two_levels(pixels: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).integers(-2, 3, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def shifted(pixels: np.ndarray) -> np.ndarray:
    return np.pad(pixels, ((0, 0), (1, 0), (0, 0)), mode="edge")[:, :-1]


def shifted_both_ways(pixels: np.ndarray) -> np.ndarray:
    return np.pad(pixels, ((0, 1), (0, 1), (0, 0)), mode="edge")[1:, 1:]


def rescaled(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((96, 96)).resize((64, 64)))


@pytest.mark.parametrize("change", [jpeg(75), jpeg(40), by_two_levels, shifted, shifted_both_ways, rescaled])
def test_a_copy_made_anew_is_found_and_nothing_else(
    scenes: Pictures, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    copies = [change(each) for each in scenes[:100]]
    assert pairs([*scenes, *copies]) == [(index, 300 + index) for index in range(100)]


@pytest.mark.slow
def test_five_thousand_scenes_are_five_thousand_pictures() -> None:
    assert pairs([render(sample(stream(6, index, "near"))) for index in range(5000)]) == []


def test_pictures_that_differ_in_colour_only_are_two(scenes: Pictures) -> None:
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    red, blue = grey.copy(), grey.copy()
    red[20:40, 20:40], blue[20:40, 20:40] = (200, 60, 60), (60, 60, 200)
    assert pairs([red, blue]) == []


def test_a_thousand_equal_pictures_all_point_to_the_first(scenes: Pictures) -> None:
    assert pairs([scenes[0]] * 1000) == [(0, index) for index in range(1, 1000)]


def test_a_crowd_of_look_alikes_stays_linear() -> None:
    rng = np.random.default_rng(0)
    thumbnails = (128 + rng.integers(-1, 2, (2000, 192))).astype(np.uint8)
    found = near_pairs(thumbnails, np.ones((2000, 3)), DISTANCE)
    assert 2000 <= len(found) <= 2 * 32 * 2000


def test_one_picture_has_no_duplicate(scenes: Pictures) -> None:
    assert pairs(scenes[:1]) == []
    assert near_pairs(np.empty((0, 192), np.uint8), np.empty((0, 3)), DISTANCE) == []


def test_the_distance_of_unshifted_thumbnails_is_their_rms_difference() -> None:
    flat = np.full((1, 192), 100, dtype=np.uint8)
    assert shifted_distance(flat, flat + 4) == pytest.approx([4.0])


def test_a_small_shift_of_a_ramp_costs_nothing() -> None:
    ramp = np.repeat(np.arange(8) * 20, 3)[None].repeat(8, axis=0)
    one, two = (ramp.reshape(1, 192) + step for step in (10, 14))
    assert shifted_distance(one.astype(np.uint8), two.astype(np.uint8)) == pytest.approx([0.0], abs=1e-3)
