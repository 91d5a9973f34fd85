from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from vlp.data.coco.masks import MaskError, png, rasterise


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_run_lengths_are_read_as_pycocotools_writes_them(width: int, height: int, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    written = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    runs = {"size": [height, width], "counts": written["counts"].decode()}
    assert (rasterise(runs, width, height) == mask).all()


def test_plain_run_lengths_go_column_by_column() -> None:
    mask = rasterise({"size": [2, 3], "counts": [1, 2, 3]}, 3, 2)
    assert mask.tolist() == [[False, True, False], [True, False, False]]


def test_a_polygon_covers_its_inside_and_several_are_one_thing() -> None:
    square = [1, 1, 3, 1, 3, 3, 1, 3]
    mask = rasterise([square, [5.0, 0.0, 6.0, 0.0, 6.0, 2.0, 5.0, 2.0]], 8, 4)
    assert mask.astype(int).tolist() == [
        [0, 0, 0, 0, 0, 1, 0, 0],
        [0, 1, 1, 0, 0, 1, 0, 0],
        [0, 1, 1, 0, 0, 0, 0, 0],
        [0] * 8,
    ]


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "expected polygons or run lengths, found NoneType"),
        ([], "no polygon"),
        ([[1, 2, 3, 4]], "three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three points"),
        ([1, 2, 3], "three points"),
        ([[1, 2, 3, "4", 5, 6]], "are numbers"),
        ([[1, 2, 3, True, 5, 6]], "are numbers"),
        ([[1, 2, float("nan"), 3, 5, 6]], "are numbers"),
        ([[1e300, 2, 3, 3, 5, 6]], "are numbers"),
        ([[0, 0, 900_000, 900_000] * 1000], "pixels of outline"),
        ({"size": [2, 2], "counts": [4]}, "size [2, 2], the image's is [4, 8]"),
        ({"size": [4, 8], "counts": [31]}, "make 31 pixels, the image has 32"),
        ({"size": [4, 8], "counts": [-1, 33]}, "none negative"),
        ({"size": [4, 8], "counts": [2**70]}, "the image has 32"),
        ({"size": [4, 8], "counts": {"a": 1}}, "whole numbers"),
        ({"size": [4, 8], "counts": "\u20ac"}, "not a text of run lengths"),
        ({"size": [4, 8], "counts": "o" * 99}, "not a text of run lengths"),
        ({"size": [4, 8], "counts": "Q"}, "end early"),
    ],
)  # fmt: skip
def test_what_is_no_segmentation_is_named(segmentation: Any, message: str) -> None:
    with pytest.raises(MaskError) as error:
        rasterise(segmentation, 8, 4)
    assert message in str(error.value)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=20))
def test_any_text_is_a_mask_of_the_images_size_or_refused(text: str) -> None:
    try:
        mask = rasterise({"size": [4, 8], "counts": text}, 8, 4)
    except MaskError:
        return
    assert mask.shape == (4, 8)


def test_a_mask_is_a_png_of_one_channel() -> None:
    image = Image.open(io.BytesIO(png(np.array([[True, False]]))))
    assert (image.format, image.mode, list(image.tobytes())) == ("PNG", "L", [255, 0])
