"""Image files named by a table: read from below a root and never from outside, and what their alpha shows."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps

from vlp.records import Region

MAX_FILE_BYTES = 64 * 2**20
"""A larger file is no picture of a data set: reading it would only cost the memory."""

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


def read_below(root: Path, name: str) -> tuple[bytes, str]:
    """The file's bytes, or none and why."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
        return b"", f"image {name!r}: not a path below the root"
    path = root / name
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            return b"", f"image {name!r}: a link that leaves the root"
        if not path.is_file():
            return b"", f"image {name!r}: no such file below {root}"
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            return b"", f"image {name!r}: {size} bytes, more than {MAX_FILE_BYTES}"
        return path.read_bytes(), ""
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, in Python 3.11 and 3.12
        return b"", f"image {name!r}: cannot be read ({error})"


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
