"""Masks small enough to count by eye."""

from __future__ import annotations

import numpy as np
import pytest

from vlp.evaluation import masks


def drawn(*rows: str) -> np.ndarray:
    """One mask, bool [1, S, S]: ``#`` is inside."""
    return np.array([[[pixel == "#" for pixel in row] for row in rows]])


SQUARE = drawn("......", ".###..", ".###..", ".###..", "......", "......")
SHIFTED = drawn("......", "..###.", "..###.", "..###.", "......", "......")
EMPTY = np.zeros_like(SQUARE)


def test_overlap_is_what_both_have_of_what_either_has() -> None:
    assert masks.iou(SQUARE, SHIFTED) == pytest.approx([6 / 12])
    assert masks.iou(SQUARE, EMPTY) == [0.0]
    assert masks.iou(EMPTY, EMPTY) == [1.0]


def test_overlap_agrees_with_a_trusted_implementation() -> None:
    import torch  # here, for one test of this file needs the two
    from torchmetrics.functional.classification import binary_jaccard_index

    rng = np.random.default_rng(0)
    found, target = rng.random((5, 8, 8)) > 0.5, rng.random((5, 8, 8)) > 0.5
    theirs = [float(binary_jaccard_index(torch.tensor(a), torch.tensor(b))) for a, b in zip(found, target, strict=True)]
    assert masks.iou(found, target) == pytest.approx(theirs)


def test_pixel_accuracy_counts_the_background_too() -> None:
    assert masks.pixel_accuracy(SQUARE, SHIFTED) == pytest.approx([30 / 36])
    assert masks.pixel_accuracy(EMPTY, SQUARE) == pytest.approx([27 / 36])


def test_an_outline_is_the_pixels_with_a_neighbour_outside() -> None:
    inside = drawn("......", "......", "..#...", "......", "......", "......")
    assert np.array_equal(masks.outline(SQUARE), SQUARE & ~inside)
    whole = np.ones((1, 4, 4), bool)
    assert masks.outline(whole).sum() == 12, "beyond the picture is outside"


def test_an_outline_within_the_tolerance_is_the_same_outline() -> None:
    assert masks.boundary_f1(SQUARE, SHIFTED, tolerance=1.0) == pytest.approx([1.0])
    # Without tolerance the two outlines share the four pixels above and below in the middle columns.
    assert masks.boundary_f1(SQUARE, SHIFTED, tolerance=0.0) == pytest.approx([4 / 8])
    assert masks.boundary_f1(SQUARE, EMPTY) == [0.0]
    assert masks.boundary_f1(EMPTY, EMPTY) == [1.0]


def test_the_tolerance_grows_with_the_picture() -> None:
    small, far = np.zeros((1, 400, 400), bool), np.zeros((1, 400, 400), bool)
    small[:, 100:200, 100:200], far[:, 104:204, 100:200] = True, True
    assert masks.boundary_f1(small, far)[0] > 0.99, "0.75 % of the diagonal of 400 pixels is 4.2"


def test_each_threshold_has_its_overlap() -> None:
    probabilities = np.where(SQUARE, 0.7, 0.3)
    scores = masks.threshold_scores(probabilities, SQUARE)
    inside = (masks.THRESHOLDS > 0.3) & (masks.THRESHOLDS <= 0.7)
    assert np.array_equal(scores[0] == 1.0, inside)


def test_what_stands_out_from_the_rim_is_salient() -> None:
    image = np.full((6, 6, 3), 90, np.uint8) + np.random.default_rng(0).integers(0, 8, (6, 6, 3)).astype(np.uint8)
    image[SQUARE[0]] = (250, 40, 40)
    assert np.array_equal(masks.salient(image[None]), SQUARE)
