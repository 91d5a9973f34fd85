from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from vlp.data.duplicates import near_pairs, shifted_distance
from vlp.data.quality import thumbnail
from vlp.data.scenes.render import render
from vlp.data.scenes.world import sample, stream
from vlp.preprocessing.statistics import appearance

DISTANCE = 5.0
WORDS = ("alpha", "beta", "gamma", "delta", "photosynthesis", "in", "the", "of", "mechanism", "result")
Pictures = list[np.ndarray]


@pytest.fixture(scope="module")
def scenes() -> Pictures:
    return [render(sample(stream(5, index, "near"))) for index in range(300)]


def pairs(pictures: Pictures) -> list[tuple[int, int]]:
    thumbnails = np.stack([np.frombuffer(thumbnail(each), np.uint8) for each in pictures])
    details = np.stack([np.frombuffer(thumbnail(each, 32), np.uint8) for each in pictures])
    appearances = np.array([appearance(each) for each in pictures])
    return [(one, two) for one, two, _ in near_pairs(thumbnails, details, appearances, DISTANCE)]


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


def half_as_large(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((32, 32)).resize((64, 64)))


def ball(colour: str, across: int, down: int, radius: int = 9) -> np.ndarray:
    image = Image.new("RGB", (512, 512), (128, 128, 128))
    place = (across - radius, down - radius, across + radius, down + radius)
    ImageDraw.Draw(image).ellipse(place, fill=colour)
    return at_64(image)


def page(seed: int) -> Image.Image:
    rng, image = np.random.default_rng(seed), Image.new("RGB", (600, 800), "white")
    for down in range(40, 760, 14):
        line = " ".join(rng.choice(WORDS, 14))
        ImageDraw.Draw(image).text((40, down), line[:86], fill="black")
    return image


def at_64(image: Image.Image) -> np.ndarray:
    return np.asarray(ImageOps.pad(image, (64, 64), Image.Resampling.BICUBIC, color="white"))


@pytest.mark.parametrize(
    "change", [jpeg(75), jpeg(40), by_two_levels, shifted, shifted_both_ways, rescaled, half_as_large]
)
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


def test_small_balls_at_different_places_are_different_pictures() -> None:
    places = [(across, down) for across in range(80, 460, 60) for down in range(80, 460, 60)]
    assert pairs([ball("red", *place) for place in places]) == []


@pytest.mark.parametrize("other", ["blue", "green", "yellow"])
@pytest.mark.parametrize("radius", [9, 14])
def test_a_small_ball_of_another_colour_at_the_same_place_is_another_picture(other: str, radius: int) -> None:
    balls = [ball(colour, 150, place, radius) for place in (100, 200, 300) for colour in ("red", other)]
    assert pairs(balls) == []


def test_a_small_ball_on_a_ground_of_many_colours_counts_too() -> None:
    ground = np.random.default_rng(0).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    wide = Image.fromarray(ground).resize((256, 256), Image.Resampling.BICUBIC)
    balls = []
    for colour in ("red", "blue"):
        image = wide.copy()
        ImageDraw.Draw(image).ellipse((100, 100, 112, 112), fill=colour)
        balls.append(at_64(image))
    assert pairs(balls) == []


def test_a_page_of_text_is_its_own_copies_and_no_other_page() -> None:
    pages = [page(seed) for seed in range(8)]
    at_30 = [at_64(Image.fromarray(jpeg(30)(np.asarray(each)))) for each in pages]
    half = [at_64(each.resize((300, 400))) for each in pages]
    moved = [shifted(at_64(each)) for each in pages]
    for copies in (at_30, half, moved):
        assert pairs([*map(at_64, pages), *copies]) == [(index, 8 + index) for index in range(8)]


def test_a_photograph_like_picture_is_found_at_quality_30_at_half_size_and_shifted() -> None:
    grounds = [np.random.default_rng(seed).integers(0, 255, (9, 9, 3), dtype=np.uint8) for seed in range(20)]
    wide = [Image.fromarray(ground).resize((256, 256), Image.Resampling.BICUBIC) for ground in grounds]
    plain = [at_64(image) for image in wide]
    at_30 = [at_64(Image.fromarray(jpeg(30)(np.asarray(image)))) for image in wide]
    half = [at_64(image.resize((128, 128))) for image in wide]
    for copies in (at_30, half, [*map(shifted, plain)]):
        assert pairs([*plain, *copies]) == [(index, 20 + index) for index in range(20)]


def test_of_one_thumbnail_pictures_with_other_details_are_parted() -> None:
    rng = np.random.default_rng(0)
    signs = rng.choice([-60, 60], (6, 8, 8, 1, 1, 1))
    checks = np.array([[1, -1], [-1, 1]]).repeat(4, axis=0).repeat(4, axis=1)[..., None]  # no cell's mean moves
    pictures = [
        (128 + (sign * checks).transpose(0, 2, 1, 3, 4).reshape(64, 64, 1).repeat(3, axis=2)).astype(np.uint8)
        for sign in signs
    ]
    assert len({thumbnail(each) for each in pictures}) == 1
    assert pairs(pictures) == []
    assert pairs([*pictures, *pictures]) == [(index, 6 + index) for index in range(6)]


def test_a_crowd_of_one_thumbnail_stays_linear() -> None:
    """More different pictures of one thumbnail than are told apart: what is left over is compared with nothing."""
    thumbnails = np.full((100, 192), 128, np.uint8)
    details = np.random.default_rng(0).integers(0, 256, (100, 3072), dtype=np.uint8)
    assert near_pairs(thumbnails, details, np.ones((100, 3)), DISTANCE) == []


def test_a_thousand_equal_pictures_all_point_to_the_first(scenes: Pictures) -> None:
    assert pairs([scenes[0]] * 1000) == [(0, index) for index in range(1, 1000)]


def test_a_crowd_of_look_alikes_stays_linear() -> None:
    rng = np.random.default_rng(0)
    thumbnails = (128 + rng.integers(-1, 2, (500, 192))).astype(np.uint8)
    details = thumbnails.reshape(-1, 8, 8, 3).repeat(4, axis=1).repeat(4, axis=2).reshape(500, -1)
    found = near_pairs(thumbnails, details, np.ones((500, 3)), DISTANCE)
    assert 500 <= len(found) <= 2 * 32 * 500


def test_one_picture_has_no_duplicate(scenes: Pictures) -> None:
    assert pairs(scenes[:1]) == []
    assert near_pairs(np.empty((0, 192), np.uint8), np.empty((0, 3072), np.uint8), np.empty((0, 3)), DISTANCE) == []


def test_the_distance_of_unshifted_thumbnails_is_their_rms_difference() -> None:
    flat = np.full((1, 192), 100, dtype=np.uint8)
    assert shifted_distance(flat, flat + 4) == pytest.approx([4.0])


def test_a_small_shift_of_a_ramp_costs_nothing() -> None:
    ramp = np.repeat(np.arange(8) * 20, 3)[None].repeat(8, axis=0)
    one, two = (ramp.reshape(1, 192) + step for step in (10, 14))
    assert shifted_distance(one.astype(np.uint8), two.astype(np.uint8)) == pytest.approx([0.0], abs=1e-3)
