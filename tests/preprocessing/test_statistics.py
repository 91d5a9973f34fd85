from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vlp.preprocessing.statistics import TextStatistics, appearance, border, mean_colour, text_statistics
from vlp.preprocessing.text import TextParams, train_tokenizer

TEXT = TextParams(max_words=12, max_tokens=8, vocabulary=60, min_frequency=1)


def test_a_flat_grey_picture_has_no_appearance() -> None:
    assert appearance(np.full((16, 16, 3), 90, dtype=np.uint8)) == pytest.approx((0, 0, 0), abs=1e-6)


def test_saturation_and_contrast_are_on_the_scale_of_eight_bits() -> None:
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:8, :, 0] = 255
    _, contrast, saturation = appearance(pixels)
    assert saturation == pytest.approx(127.5)
    assert contrast == pytest.approx(255 * 0.299 / 2, rel=1e-4)


def test_blur_takes_sharpness_away() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    blurred = np.asarray(Image.fromarray(noise).resize((8, 8)).resize((32, 32)))
    assert appearance(blurred)[0] < appearance(noise)[0] / 20


def test_the_mean_colour_is_of_each_channel() -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[:2] = (200, 100, 0)
    pixels[2:] = (100, 100, 50)
    assert mean_colour(pixels) == (150.0, 100.0, 25.0)


def test_a_text_is_measured_by_words_pieces_and_what_the_vocabulary_lacks() -> None:
    tokenizer = train_tokenizer(["a red circle", "a red square", "a blue circle"] * 3, TEXT)
    known, spelt, foreign, empty = text_statistics(["a red circle", "a blurred circle", "a ☃ ♞", ""], tokenizer)
    assert known == TextStatistics(words=3, tokens=5, unknown_share=0.0)
    assert (spelt.words, spelt.unknown_share) == (3, pytest.approx(1 / 3))
    assert spelt.tokens > 5
    assert (foreign.words, foreign.tokens, foreign.unknown_share) == (3, 5, pytest.approx(2 / 3))
    assert empty == TextStatistics(words=0, tokens=2, unknown_share=0.0)


def test_no_text_is_no_statistics() -> None:
    assert text_statistics([], train_tokenizer(["a red circle"], TEXT)) == []


NOISE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_a_picture_that_fills_its_frame_has_no_border() -> None:
    assert border(NOISE) == 0


@pytest.mark.parametrize(("top", "left", "share"), [(16, 0, 0.25), (0, 8, 0.125), (8, 8, 1 - (56 / 64) ** 2)])
def test_bands_at_the_edges_are_a_border_also_where_they_are_written_on(top: int, left: int, share: float) -> None:
    framed = NOISE.copy()
    framed[:top] = framed[:, :left] = (20, 20, 30)
    framed[2:6:2, 20:40] = 255  # a line of writing on the upper band, if there is one
    assert border(framed) == pytest.approx(share)


def test_a_picture_of_one_colour_is_nothing_but_border() -> None:
    assert border(np.full((32, 32, 3), 9, dtype=np.uint8)) == 1
