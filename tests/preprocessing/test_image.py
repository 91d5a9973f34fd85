from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from vlp.params import ParamsError, parse
from vlp.preprocessing.image import ImageError, ImageParams, format_of, over_picture, prepare, prepare_mask

PARAMS = ImageParams(size=32)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def params(**changes: Any) -> ImageParams:
    return parse(ImageParams, {"size": 32} | changes, "image")


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def quarters(side: int = 32) -> Image.Image:
    """Red, green, blue and white quarters, in reading order."""
    image = Image.new("RGB", (side, side), WHITE)
    half = side // 2
    image.paste(RED, (0, 0, half, half))
    image.paste(GREEN, (half, 0, side, half))
    image.paste(BLUE, (0, half, half, side))
    return image


def noise(width: int = 48, height: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """The colours in the middle of the four quarters, in reading order."""
    near, far = len(pixels) // 4, 3 * len(pixels) // 4
    return [tuple(int(value) for value in pixels[row, column]) for row in (near, far) for column in (near, far)]


def refusal(data: bytes, chosen: ImageParams = PARAMS) -> str:
    with pytest.raises(ImageError) as caught:
        prepare(data, chosen)
    assert str(caught.value) == f"{caught.value.reason}: {caught.value.detail}"
    return caught.value.reason


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_a_lossless_file_of_the_prepared_size_keeps_every_pixel(kind: str) -> None:
    prepared = prepare(encoded(quarters(), kind), PARAMS)
    assert np.array_equal(prepared.pixels, np.asarray(quarters()))
    assert prepared.pixels.dtype == np.uint8
    assert (prepared.format, prepared.width, prepared.height) == (kind, 32, 32)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_lossy_file_keeps_its_colours(kind: str) -> None:
    prepared = prepare(encoded(quarters(), kind, quality=95), PARAMS)
    expected = np.array([RED, GREEN, BLUE, WHITE])
    assert np.abs(np.array(corners(prepared.pixels)) - expected).max() <= 8
    assert prepared.format == kind


@pytest.mark.parametrize(
    ("mode", "kind", "notes"),
    [
        ("RGB", "PNG", ()),
        ("L", "PNG", ("greyscale",)),
        ("1", "PNG", ("bilevel",)),
        ("P", "PNG", ("palette",)),
        ("LA", "PNG", ("alpha", "greyscale")),
        ("RGBA", "PNG", ("alpha",)),
        ("CMYK", "JPEG", ("cmyk",)),
        ("CMYK", "TIFF", ("cmyk",)),
        ("YCbCr", "TIFF", ()),
        ("L", "JPEG", ("greyscale",)),
        ("PA", "TIFF", ("alpha", "palette")),
    ],
)
def test_every_colour_model_becomes_rgb_and_says_so(mode: str, kind: str, notes: tuple[str, ...]) -> None:
    image = quarters().convert("L").convert(mode) if mode == "PA" else quarters().convert(mode)
    prepared = prepare(encoded(image, kind), PARAMS)
    assert prepared.notes == notes
    assert prepared.mode == mode
    wanted = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(np.array(corners(prepared.pixels)) - np.array(corners(wanted))).max() <= 8


def test_sixteen_bit_greys_are_scaled_and_not_clipped() -> None:
    greys = np.full((32, 32), 32768, dtype=np.uint16)
    greys[:16] = 65535
    prepared = prepare(encoded(Image.fromarray(greys)), PARAMS)
    assert prepared.notes == ("greyscale", "sixteen_bit")
    assert [colour[0] for colour in corners(prepared.pixels)] == [255, 255, 128, 128]


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_grey_of_a_png_shows_the_background(bits: int) -> None:
    black, white = (0).to_bytes(bits // 8), (2**bits - 1).to_bytes(bits // 8)
    lines = (b"\0" + half * 16 for half in (black, white) for _ in range(8))
    data = _png(bits, 0, b"".join(lines), ("tRNS", bytes(2)))
    prepared = prepare(data, params(background=[9, 80, 200]))
    assert prepared.notes == ("alpha", "greyscale", *(["sixteen_bit"] if bits == 16 else []))
    assert corners(prepared.pixels) == [(9, 80, 200)] * 2 + [WHITE] * 2


def test_a_sixteen_bit_grey_beside_the_transparent_one_is_opaque() -> None:
    data = _png(16, 0, (b"\0" + b"\x80\1" * 16) * 16, ("tRNS", b"\x80\0"))
    assert set(corners(prepare(data, PARAMS).pixels)) == {(128, 128, 128)}


def test_sixteen_bit_colour_is_noted() -> None:
    line = b"\0" + struct.pack(">3H", 200 * 257, 100 * 257, 50 * 257) * 16
    prepared = prepare(_png(16, 2, line * 16), PARAMS)
    assert prepared.notes == ("sixteen_bit",)
    assert set(corners(prepared.pixels)) == {(200, 100, 50)}


def _png(bits: int, colours: int, lines: bytes, *more: tuple[str, bytes]) -> bytes:
    """A 16×16 PNG by hand, of depths and chunks that Pillow does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", 16, 16, bits, colours, 0, 0, 0)
    between = b"".join(chunk(name.encode(), body) for name, body in more)
    body = chunk(b"IHDR", head) + between + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_lab_is_converted_by_its_definition() -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(quarters(), *profiles, outputMode="LAB")
    prepared = prepare(encoded(lab, "TIFF"), PARAMS)
    assert prepared.notes == ("lab",)
    # Eight bits of Lab are coarse where sRGB ends.
    assert np.abs(np.array(corners(prepared.pixels)) - np.array([RED, GREEN, BLUE, WHITE])).max() <= 24


def test_floating_point_pixels_have_no_agreed_white() -> None:
    assert refusal(encoded(Image.new("F", (32, 32), 0.5), "TIFF")) == "unsupported_mode"


def test_transparency_shows_the_background() -> None:
    image = quarters().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 16, 16))
    image.paste((255, 0, 0, 128), (16, 0, 32, 16))
    shown = corners(prepare(encoded(image), params(background=[0, 0, 200])).pixels)
    assert shown[0] == (0, 0, 200)
    assert shown[1] == (128, 0, 100)


def test_a_transparent_palette_entry_shows_the_background() -> None:
    image = quarters().convert("P", palette=Image.Palette.ADAPTIVE)
    red = image.getpixel((4, 4))
    prepared = prepare(encoded(image, transparency=red), params(background=[9, 9, 9]))
    assert prepared.notes == ("alpha", "palette")
    assert corners(prepared.pixels)[0] == (9, 9, 9)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_shows_the_picture_upright(kind: str, turn: int) -> None:
    upright = Image.new("RGB", (32, 16), WHITE)
    upright.paste(RED, (0, 0, 16, 8))
    upright.paste(BLUE, (16, 8, 32, 16))
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # the camera was turned the other way
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(upright if stored is None else upright.transpose(stored), kind, exif=exif, quality=95)
    prepared = prepare(data, PARAMS)
    assert (prepared.width, prepared.height) == (32, 16)
    assert prepared.notes == (() if turn == 1 else ("exif_rotated",))
    expected = np.array([RED, WHITE, WHITE, BLUE])
    # The prepared picture squashes 32×16 to 32×32; JPEG and WEBP share colour between neighbours.
    assert np.abs(np.array(corners(prepared.pixels)) - expected).max() <= 8


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>not here</html>", "not_an_image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "truncated"),
        (encoded(Image.new("RGB", (4, 4), RED)), "tiny"),
        (encoded(Image.new("RGB", (400, 10), RED)), "extreme_aspect"),
        (b"%PDF-1.7" + b"\0" * 500, "not_an_image"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "not_an_image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', "not_an_image"),
    ],
)
def test_what_is_no_usable_picture_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    assert refusal(data) == reason


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_a_picture_that_is_an_archive_too_is_the_picture(kind: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("run.py", "print('no')")
    plain = encoded(quarters(), kind)
    assert (prepare(plain + archive.getvalue(), PARAMS).pixels == prepare(plain, PARAMS).pixels).all()


def test_a_colour_profile_changes_no_pixel_and_a_packed_one_fills_no_memory() -> None:
    plain = encoded(quarters(), "PNG")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for inside in (profile, b"no profile", bytes(64 * 2**20)):
        try:
            pixels = prepare(encoded(quarters(), "PNG", icc_profile=inside), PARAMS).pixels
        except ImageError as error:
            assert error.reason == "corrupt"  # noqa: PT017
            assert len(inside) > 2**20
        else:
            assert (pixels == prepare(plain, PARAMS).pixels).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_cut_short_is_truncated_or_corrupt(kind: str, share: float) -> None:
    data = encoded(noise(), kind)
    assert refusal(data[: int(len(data) * share)]) in ("truncated", "corrupt")


def scanned(data: bytes, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes ``scans`` times in all."""
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * (scans - 1) + data[end:]


def test_a_jpeg_of_a_thousand_scans_is_refused_before_it_is_decoded() -> None:
    plain = encoded(noise(), "JPEG", progressive=True)
    assert prepare(plain, PARAMS).format == "JPEG"
    assert refusal(scanned(plain, 1000)) == "too_many_scans"


def test_only_the_scans_of_the_picture_itself_count() -> None:
    plain = encoded(quarters(), "JPEG", progressive=True)
    film = b"\xff\xda" * 1000
    thumbnail = b"\xff\xe2" + (2 + len(film)).to_bytes(2) + film
    for data in (plain + film, plain[:2] + thumbnail + plain[2:]):
        assert (prepare(data, PARAMS).pixels == prepare(plain, PARAMS).pixels).all()


def test_a_png_without_its_last_chunk_is_truncated_though_it_decodes() -> None:
    assert refusal(encoded(noise())[:-12]) == "truncated"


def test_damaged_png_data_is_corrupt() -> None:
    data = bytearray(encoded(noise()))
    data[len(data) // 2] ^= 0xFF
    assert refusal(bytes(data)) == "corrupt"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_several_frames_are_no_picture(kind: str) -> None:
    data = encoded(quarters(), kind, save_all=True, append_images=[noise(32, 32)])
    assert refusal(data) == "animated"


def test_a_telephones_picture_with_a_second_one_behind_it_is_one_picture() -> None:
    data = encoded(quarters(), "MPO", save_all=True, append_images=[noise(32, 32)], quality=95)
    prepared = prepare(data, PARAMS)
    assert prepared.format == "JPEG"
    assert prepared.notes == ("multi_picture",)
    assert np.abs(np.array(corners(prepared.pixels)) - np.array([RED, GREEN, BLUE, WHITE])).max() <= 8


def test_too_many_pixels_are_refused_by_the_header_alone() -> None:
    header_only = encoded(Image.new("1", (3000, 3000)))[:60] + b"IEND"
    assert refusal(header_only, params(max_pixels=1_000_000)) == "too_many_pixels"


def test_a_decompression_bomb_is_refused() -> None:
    assert refusal(encoded(Image.new("1", (14_000, 14_000)))) == "too_many_pixels"


def test_too_many_bytes_are_refused_unread() -> None:
    assert refusal(b"x" * 101, params(max_bytes=100)) == "too_many_bytes"


def test_formats_with_rarely_tested_decoders_are_not_tried() -> None:
    assert refusal(encoded(quarters(), "TGA")) == "not_an_image"
    assert refusal(encoded(quarters(), "PPM")) == "not_an_image"


def test_broken_metadata_does_not_cost_the_picture() -> None:
    data = encoded(quarters(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff", quality=95)
    assert "exif_rotated" not in prepare(data, PARAMS).notes


def wide() -> Image.Image:
    """40×20: a red left fifth, a blue right fifth, green between."""
    image = Image.new("RGB", (40, 20), GREEN)
    image.paste(RED, (0, 0, 10, 20))
    image.paste(BLUE, (30, 0, 40, 20))
    return image


def test_squash_keeps_the_whole_picture_and_not_its_aspect() -> None:
    middle = prepare(encoded(wide()), params(resize="squash")).pixels[16]
    assert [tuple(middle[column]) for column in (2, 16, 29)] == [RED, GREEN, BLUE]


def test_crop_keeps_the_middle_square() -> None:
    pixels = prepare(encoded(wide()), params(resize="crop")).pixels
    # The outermost pixels are interpolated with what lies beyond the square.
    assert (pixels[:, 1:-1] == np.array(GREEN, dtype=np.uint8)).all()


def test_pad_keeps_the_whole_picture_on_the_background() -> None:
    pixels = prepare(encoded(wide()), params(resize="pad", background=[1, 2, 3])).pixels
    assert [tuple(pixels[16, column]) for column in (2, 16, 29)] == [RED, GREEN, BLUE]
    assert (pixels[:8] == np.array([1, 2, 3])).all()
    assert (pixels[24:] == np.array([1, 2, 3])).all()


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(40, 20), (20, 40), (33, 31)])
def test_a_mask_follows_its_image_pixel_by_pixel(resize: str, size: tuple[int, int]) -> None:
    width, height = size
    mask = Image.new("L", size, 0)
    mask.paste(255, (width // 4, height // 4, width // 2, 3 * height // 4))
    image = Image.merge("RGB", [mask] * 3)
    chosen = params(resize=resize, background=[0, 0, 0])
    inside = prepare_mask(encoded(mask), chosen, size)
    shown = prepare(encoded(image), chosen).pixels[..., 0]
    assert inside.dtype == bool
    assert inside.shape == (32, 32)
    # Bicubic edges may fall on either side of the threshold, by a pixel around the outline.
    assert (inside != (shown >= 128)).mean() < 0.04


def test_a_mask_of_another_size_than_its_image_is_refused() -> None:
    with pytest.raises(ImageError, match="mask_size: the mask is 20×20 pixels, its image 40×20"):
        prepare_mask(encoded(Image.new("L", (20, 20))), PARAMS, (40, 20))


def test_a_mask_is_a_png() -> None:
    with pytest.raises(ImageError, match="not_an_image: none of PNG"):
        prepare_mask(encoded(Image.new("L", (32, 32)), "BMP"), PARAMS)


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same() -> None:
    large = quarters(1024)
    quick = prepare(encoded(large, "JPEG", quality=95), PARAMS).pixels.astype(int)
    whole = prepare(encoded(large, "PNG"), PARAMS).pixels.astype(int)
    assert np.abs(quick - whole).mean() < 3


@pytest.mark.parametrize("size", [(300, 200), (77, 640), (40, 33)])
@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_pixels_are_those_of_pillows_bicubic(resize: Any, size: tuple[int, int]) -> None:
    # Of middling levels: which pass comes first shows only where the filter overshoots and is cut off in between.
    image = Image.fromarray(np.random.default_rng(0).integers(80, 176, (size[1], size[0], 3), np.uint8))
    short = min(size)
    left, top = (size[0] - short) / 2, (size[1] - short) / 2
    box = (left, top, left + short, top + short) if resize == "crop" else None
    pillows = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC, box=box)).astype(int)
    found = prepare(encoded(image, "PNG"), ImageParams(size=64, resize=resize)).pixels.astype(int)
    assert np.abs(found - pillows).max() <= 2


def test_the_same_bytes_give_the_same_pixels() -> None:
    data = encoded(noise(), "JPEG")
    assert prepare(data, PARAMS).pixels.tobytes() == prepare(data, PARAMS).pixels.tobytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@settings(max_examples=60, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=12))
def test_damaged_files_are_prepared_or_refused_and_nothing_else(kind: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(encoded(noise(20, 18), kind))
    for place, value in changes:
        data[place % len(data)] = value
    with contextlib.suppress(ImageError):
        assert prepare(bytes(data), PARAMS).pixels.shape == (32, 32, 3)


def test_threads_decode_side_by_side_and_leave_the_warnings_as_they_were() -> None:
    before = list(warnings.filters)
    data = encoded(quarters().convert("P"), transparency=bytes(range(200)))
    with ThreadPoolExecutor(6) as pool:
        pixels = {prepared.pixels.tobytes() for prepared in pool.map(prepare, [data] * 200, [PARAMS] * 200)}
    assert len(pixels) == 1
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    ("name", "claimed"),
    [("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("b.tif", "TIFF"), ("c.txt", ""), ("plain", None), (".png", None)],
)
def test_a_name_claims_a_format_by_its_extension(name: str, claimed: str | None) -> None:
    assert format_of(name) == claimed


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"size": 8}, "image: size: "),
        ({"resize": "stretch"}, "image: resize: "),
        ({"background": [0, 0, 256]}, "image: background"),
        ({"max_pixels": 10**9}, "image: max_pixels: "),
    ],
)
def test_impossible_values_name_their_key(change: dict[str, Any], line: str) -> None:
    with pytest.raises(ParamsError, match=line):
        params(**change)


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (150, 149)])
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_a_mask_of_the_prepared_image_lies_over_the_picture_where_its_thing_is(
    resize: str, size: tuple[int, int]
) -> None:
    width, height = size
    geometry = params(size=64, resize=resize)
    thing = np.zeros((height, width), np.uint8)
    thing[height // 3 : height // 2, width // 2 : 2 * width // 3] = 255  # right of the middle, and above it
    mask = over_picture(prepare_mask(encoded(Image.fromarray(thing)), geometry), geometry, width, height)
    assert mask.shape == (64, 64) and mask.dtype == bool
    shown = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    assert (shown & (thing > 0)).sum() / (shown | (thing > 0)).sum() > 0.8


def test_what_a_crop_leaves_out_is_nowhere_on_the_map() -> None:
    laid = over_picture(np.ones((4, 4), np.float32), ImageParams(size=64, resize="crop"), 200, 100)
    assert laid.tolist() == [[0, 1, 1, 0]] * 4
    padded = over_picture(np.arange(16).reshape(4, 4), ImageParams(size=64, resize="pad"), 200, 100)
    assert padded.tolist() == [[4, 5, 6, 7]] * 2 + [[8, 9, 10, 11]] * 2, "the two rows in the middle"
