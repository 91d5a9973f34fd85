"""Arrays as PNG files, for whoever asked over a wire."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 [H, W, 3], RGB; or of bool [H, W], where true is white."""
    levels = pixels.astype(np.uint8) * np.uint8(255) if pixels.dtype == np.bool_ else pixels
    out = BytesIO()
    Image.fromarray(levels).save(out, "PNG")
    return out.getvalue()
