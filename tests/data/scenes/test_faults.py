from __future__ import annotations

import io
import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageOps

from vlp.data.scenes.codec import jpeg, png
from vlp.data.scenes.faults import COPIES, Clean, copy_nearly, plan, spoil_image, spoil_text
from vlp.data.scenes.grammar import parse
from vlp.data.scenes.render import render
from vlp.data.scenes.world import sample, stream

PIXELS = render(sample(stream(1, 1, "scene")))
TYPES = 20
TEXT = "there is a small red circle"


def spoilt(name: str, seed: int = 0, stored: str = "png") -> tuple[bytes, str]:
    picture = Image.fromarray(PIXELS)
    image = png(picture) if stored == "png" else jpeg(picture, 95)
    return spoil_image(name, Clean(rng=random.Random(seed), pixels=PIXELS, image=image))


def opened(name: str, seed: int = 0) -> Image.Image:
    return Image.open(io.BytesIO(spoilt(name, seed)[0]))


def off(image: Image.Image) -> float:
    """Mean absolute difference to the clean picture in levels."""
    return float(np.abs(np.asarray(image.convert("RGB")).astype(int) - PIXELS).mean())


def test_the_plan_is_a_function_of_its_arguments() -> None:
    assert plan(1000, 0.1, 7) == plan(1000, 0.1, 7)
    assert plan(1000, 0.1, 7) != plan(1000, 0.1, 8)


def test_the_share_decides_how_many_records_are_dirty() -> None:
    assert len(plan(1000, 0.02, 7)) == 20
    assert plan(1000, 0.0, 7) == {}
    assert plan(1, 0.5, 7) == {}


@pytest.mark.parametrize("seed", range(5))
def test_every_type_appears_once_there_are_as_many_dirty_records(seed: int) -> None:
    counts = Counter((fault.field, fault.name) for fault in plan(1000, TYPES / 1000, seed).values())
    assert len(counts) == TYPES
    assert set(counts.values()) == {1}


def test_types_are_as_frequent_as_each_other() -> None:
    counts = Counter((fault.field, fault.name) for fault in plan(5000, 0.1, 7).values())
    assert len(counts) == TYPES
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_copy_is_of_an_earlier_clean_record() -> None:
    faults = plan(400, 0.5, 3)
    sources = {index: fault.source for index, fault in faults.items() if fault.name in COPIES}
    assert sources
    for index, source in sources.items():
        assert source is not None
        assert source < index
        assert source not in faults


def test_only_copies_have_a_source() -> None:
    assert all((fault.source is None) == (fault.name not in COPIES) for fault in plan(400, 0.5, 3).values())


def test_an_empty_file_is_empty() -> None:
    assert spoilt("empty") == (b"", "png")


@pytest.mark.parametrize("stored", ["png", "jpg"])
@pytest.mark.parametrize("seed", range(20))
def test_a_truncated_file_begins_well_and_cannot_be_decoded(stored: str, seed: int) -> None:
    data, extension = spoilt("truncated", seed, stored)
    assert extension == stored
    with pytest.raises((OSError, SyntaxError)), Image.open(io.BytesIO(data)) as image:
        image.load()


@pytest.mark.parametrize("stored", ["png", "jpg"])
@pytest.mark.parametrize("seed", range(5))
def test_a_wrong_extension_is_never_that_of_the_content(stored: str, seed: int) -> None:
    data, extension = spoilt("wrong_extension", seed, stored)
    assert extension != stored
    assert off(Image.open(io.BytesIO(data))) < 5


def test_a_tiny_picture_is_at_most_six_pixels_wide() -> None:
    assert all(max(opened("tiny", seed).size) <= 6 for seed in range(10))


@pytest.mark.parametrize(
    ("name", "kind", "mode"),
    [("cmyk", "JPEG", "CMYK"), ("greyscale", "PNG", "L"), ("palette", "PNG", "P"), ("alpha", "PNG", "RGBA")],
)
def test_a_mode_is_what_its_name_says(name: str, kind: str, mode: str) -> None:
    image = opened(name)
    assert (image.format, image.mode) == (kind, mode)


@pytest.mark.parametrize(("name", "levels"), [("cmyk", 4), ("palette", 6), ("sixteen_bit", 0), ("alpha", 0)])
def test_what_can_be_repaired_still_shows_the_picture(name: str, levels: float) -> None:
    assert off(opened(name)) <= levels


def test_a_sixteen_bit_file_says_so_in_its_header() -> None:
    assert spoilt("sixteen_bit")[0][24] == 16


def test_alpha_hides_nothing_but_a_frame() -> None:
    opacity = np.asarray(opened("alpha"))[..., 3]
    assert (opacity[2:-2, 2:-2] == 255).all()
    assert (opacity[0] < 255).all()


@pytest.mark.parametrize("seed", range(6))
def test_a_turned_picture_is_stored_turned_and_reads_back_upright(seed: int) -> None:
    image = opened("exif_rotated", seed)
    assert image.getexif()[0x0112] in (3, 6, 8)
    assert off(image) > 8
    assert off(ImageOps.exif_transpose(image)) < 4


def test_animations_come_in_three_formats_with_the_picture_first() -> None:
    formats = set()
    for seed in range(12):
        data, extension = spoilt("animated", seed)
        image = Image.open(io.BytesIO(data))
        formats.add((image.format, extension))
        assert image.n_frames > 1
        assert off(image) < 8
    assert formats == {("GIF", "gif"), ("PNG", "png"), ("WEBP", "webp")}


def test_a_near_copy_is_another_file_of_much_the_same_picture() -> None:
    ways = set()
    for seed in range(20):
        data, extension, cut = copy_nearly(random.Random(seed), PIXELS)
        ways.add((extension, cut))
        inner = PIXELS[cut : len(PIXELS) - cut, cut : len(PIXELS) - cut].astype(int)
        copied = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        assert copied.shape == inner.shape
        assert np.abs(copied - inner).mean() < 5
        assert data != png(Image.fromarray(PIXELS))
    assert ways == {("jpg", 0), ("png", 0), ("png", 1)}


def test_an_empty_caption_has_no_letter() -> None:
    assert all(not spoil_text("empty", random.Random(seed), TEXT).strip() for seed in range(8))


def test_a_caption_that_is_too_long_has_hundreds_of_words() -> None:
    assert len(spoil_text("too_long", random.Random(0), TEXT).split()) >= 150


def test_html_has_tags_around_all_the_words() -> None:
    for seed in range(8):
        text = spoil_text("html", random.Random(seed), TEXT)
        assert "<" in text
        assert "red" in text


def test_control_characters_are_put_into_the_words() -> None:
    for seed in range(12):
        text = spoil_text("control_characters", random.Random(seed), TEXT)
        assert not text.isprintable()
        assert "".join(char for char in text.replace("\x1b[31m", "") if char.isprintable()) == TEXT


def test_mojibake_shows_and_can_be_undone() -> None:
    for seed in range(12):
        text = spoil_text("mojibake", random.Random(seed), TEXT)
        assert not text.isascii()
        assert TEXT in text.encode("latin-1").decode("utf-8")
        assert parse(text) is None


def test_other_scripts_are_not_latin() -> None:
    for seed in range(20):
        text = spoil_text("script", random.Random(seed), TEXT)
        assert not any(char.isascii() and char.isalpha() for char in text)
