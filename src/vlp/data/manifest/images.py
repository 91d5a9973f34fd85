"""What the alpha channel of an image file shows."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

from PIL import Image, ImageOps

from vlp.records import Region

MAX_PIXELS = 50_000_000
"""A larger picture is not decoded for its alpha."""

# What Pillow's decoders raise on broken bytes.
_DECODE_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

OPAQUE = 128
"""Alpha from which a pixel belongs to the thing that is shown: half covered, on the 8-bit scale."""


def alpha_region(image: bytes, expression: str) -> Region | None:
    """What is opaque, as the region that ``expression`` names; None where alpha tells nothing apart.

    An image that does not decode has no region: validation is where it is judged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(image))
        if picture.width * picture.height > MAX_PIXELS or not picture.has_transparency_data:
            return None
        alpha = ImageOps.exif_transpose(picture.convert("RGBA")).getchannel("A")
    except _DECODE_FAULTS:
        return None
    mask = alpha.point([0] * OPAQUE + [255] * (256 - OPAQUE))
    if len(mask.getextrema()) != 2 or mask.getextrema()[0] == mask.getextrema()[1]:
        return None
    buffer = io.BytesIO()
    mask.save(buffer, format="PNG")
    return Region(expression=expression, mask=buffer.getvalue())
