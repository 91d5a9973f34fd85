from __future__ import annotations

import numpy as np
import pytest

from vlp.runtime.explain import occlusion


def red_less_blue(images: np.ndarray) -> np.ndarray:
    """A score that can be worked out: mean red less mean blue, 0 to 1."""
    means = images.astype(float).mean(axis=(1, 2)) / 255
    return means[:, 0] - means[:, 2]


def two_sides(size: int) -> np.ndarray:
    """The left half red, the right half blue."""
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[:, : size // 2, 0] = 255
    pixels[:, size // 2 :, 2] = 255
    return pixels


@pytest.mark.parametrize("size", [16, 64, 75])
def test_what_speaks_for_is_above_zero_and_what_speaks_against_below(size: int) -> None:
    whole, heat = occlusion(two_sides(size), red_less_blue)
    assert whole == pytest.approx(0, abs=0.02)
    assert heat.shape == (12, 12)
    assert (heat[:, :5] > 0).all()
    assert (heat[:, 7:] < 0).all()


def test_a_window_inside_one_colour_costs_its_share_of_the_picture() -> None:
    # A window of 3×3 cells of 8 pixels, red and painted over with (128, 0, 128), in a picture of 96×96.
    _, heat = occlusion(two_sides(96), red_less_blue)
    assert heat[6, 2] == pytest.approx(24**2 / 96**2, rel=0.01)


def test_nothing_carries_the_score_of_a_plain_picture() -> None:
    _, heat = occlusion(np.full((16, 16, 3), 77, np.uint8), red_less_blue)
    assert not heat.any()


def test_images_are_scored_a_few_at_a_time() -> None:
    sizes = []

    def score(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return np.zeros(len(images))

    occlusion(two_sides(64), score)
    assert max(sizes) <= 16
    assert sum(sizes) == 145
