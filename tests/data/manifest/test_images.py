from __future__ import annotations

import io
import random
import struct
import zlib

import pytest
from PIL import Image

from vlp.data.manifest.images import alpha_region


def rgba(alpha: list[int], kind: str = "PNG", orientation: int | None = None) -> bytes:
    """Two pixels wide, three high, with that alpha row by row."""
    picture = Image.new("RGBA", (2, 3), (200, 0, 0, 0))
    picture.putalpha(Image.frombytes("L", (2, 3), bytes(alpha)))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


def mask(image: bytes) -> Image.Image | None:
    region = alpha_region(image, "a thing")
    return None if region is None else Image.open(io.BytesIO(region.mask))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_half_covered_pixels_belong_to_the_thing(kind: str) -> None:
    found = mask(rgba([0, 127, 128, 255, 0, 0], kind))
    assert found is not None
    assert (found.mode, found.size, list(found.tobytes())) == ("L", (2, 3), [0, 0, 255, 255, 0, 0])


def test_the_mask_is_turned_as_the_picture_is_shown() -> None:
    found = mask(rgba([255, 0, 0, 0, 0, 0], orientation=6))
    assert found is not None
    assert (found.size, list(found.tobytes())) == ((3, 2), [0, 0, 255, 0, 0, 0])


@pytest.mark.parametrize("alpha", [0, 100, 255])
def test_an_alpha_that_tells_nothing_apart_is_no_region(alpha: int) -> None:
    assert mask(rgba([alpha] * 6)) is None


def test_bytes_of_any_kind_are_a_region_or_none() -> None:
    whole, rng = rgba([0, 127, 128, 255, 0, 0]), random.Random(0)
    outcomes = set()
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(3):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        found = alpha_region(bytes(broken[: rng.randrange(len(broken) + 1)]), "a thing")
        assert found is None or (found.expression == "a thing" and found.mask.startswith(b"\x89PNG"))
        outcomes.add(found is None)
    assert alpha_region(whole, "a thing") is not None and True in outcomes


def test_a_picture_that_claims_to_be_huge_is_not_decoded() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    for side in (12_000, 100_000):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0))
        assert mask(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")) is None
