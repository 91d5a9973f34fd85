"""Nearest neighbours by colour, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vlp.evaluation.nearest import colour_histograms, colours_of, evenly, nearest

BLUE, RED, DARK_RED, WHITE = [0, 0, 255], [255, 0, 0], [192, 0, 0], [255, 255, 255]


def test_a_histogram_counts_pixels_and_knows_no_places() -> None:
    images = np.array([[[BLUE, RED], [RED, RED]], [[RED, RED], [DARK_RED, BLUE]], [[WHITE] * 2] * 2], np.uint8)
    found = colour_histograms(images)
    assert found.shape == (3, 64)
    assert found[0, 3] == 0.25 and found[0, 48] == 0.75  # blue; red, dark or not
    np.testing.assert_array_equal(found[0], found[1])
    assert found[2, 63] == 1


def test_what_all_have_in_common_does_not_make_them_alike() -> None:
    known = np.array([[9.0, 1.0, 0.0], [9.0, 0.0, 1.0]])
    assert nearest(np.array([[9.0, 0.9, 0.1], [9.0, 0.2, 0.8]]), known).tolist() == [0, 1]


def test_the_nearest_of_many_are_found_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    asked, known = rng.normal(size=(50, 8)), rng.normal(size=(20, 8))
    whole = nearest(asked, known)
    monkeypatch.setattr("vlp.evaluation.nearest._ASKED_AT_ONCE", 7)
    np.testing.assert_array_equal(nearest(asked, known), whole)
    assert nearest(asked[:0], known).shape == (0,)


def test_histograms_are_made_of_some_images_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlp.evaluation.nearest._IMAGES_AT_ONCE", 4)
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 3, 3)).astype(np.uint8)
    read: list[int] = []

    def of(rows: list[int]) -> np.ndarray:
        read.append(len(rows))
        return images[rows]

    np.testing.assert_array_equal(colours_of(of, np.arange(10)[::-1]), colour_histograms(images[::-1]))
    assert read == [4, 4, 2]


def test_some_rows_are_evenly_spread_and_few_stay_whole() -> None:
    rows = np.array([2, 3, 5, 7, 11])
    np.testing.assert_array_equal(evenly(rows, 3), [2, 5, 11])
    np.testing.assert_array_equal(evenly(rows, 5), rows)
