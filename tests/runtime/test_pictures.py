from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from vlp.runtime.pictures import png


def test_a_picture_comes_back_as_it_was() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(png(pixels)))), pixels)


def test_a_mask_is_white_inside() -> None:
    found = Image.open(BytesIO(png(np.array([[True, False, False], [False, True, True]]))))
    assert (found.mode, np.asarray(found).tolist()) == ("L", [[255, 0, 0], [0, 255, 255]])
