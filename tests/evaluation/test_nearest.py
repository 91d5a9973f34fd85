"""Nearest neighbours by colour, by hand."""

from __future__ import annotations

import numpy as np

from vlp.evaluation.nearest import colour_histograms, cosines, evenly

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
    found = cosines(np.array([[9.0, 0.9, 0.1], [9.0, 0.2, 0.8]]), known)
    np.testing.assert_allclose(found, [[1, -1], [-1, 1]])


def test_some_rows_are_evenly_spread_and_few_stay_whole() -> None:
    rows = np.array([2, 3, 5, 7, 11])
    np.testing.assert_array_equal(evenly(rows, 3), [2, 5, 11])
    np.testing.assert_array_equal(evenly(rows, 5), rows)
