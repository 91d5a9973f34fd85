"""Pixels into the bytes of image files."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of ``picture`` as a file of ``kind`` (Pillow's name of the format)."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(picture: Image.Image) -> bytes:
    """PNG, quick rather than small: noise does not compress anyway."""
    return encode(picture, "PNG", compress_level=1)


def jpeg(picture: Image.Image, quality: int, **options: Any) -> bytes:
    """JPEG with colour at full resolution: a thing of 11 pixels has few to spare."""
    return encode(picture, "JPEG", quality=quality, subsampling=0, **options)


def png16(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which Pillow reads but does not write.

    Args:
        pixels: uint8 [H, W, 3]; each level becomes the one of 65,536 that means the same.

    Source: PNG specification, https://www.w3.org/TR/png-3/
    """
    height, width, _ = pixels.shape
    rows = (pixels.astype(">u2") * 257).astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
