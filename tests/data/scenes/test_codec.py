from __future__ import annotations

import io

import numpy as np
from PIL import Image

from vlp.data.scenes.codec import jpeg, png, png16

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def test_png_keeps_every_level() -> None:
    assert (np.asarray(Image.open(io.BytesIO(png(Image.fromarray(PIXELS))))) == PIXELS).all()


def test_jpeg_is_jpeg() -> None:
    assert Image.open(io.BytesIO(jpeg(Image.fromarray(PIXELS), 95))).format == "JPEG"


def test_png16_has_sixteen_bits_and_reads_back_as_the_same_levels() -> None:
    data = png16(PIXELS)
    assert data[24] == 16  # bit depth in the header
    assert (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) == PIXELS).all()
