"""From the bytes of an image file to uint8 RGB [S, S, 3]: the one way, for training and serving alike.

The format is read from the content, never from a name; only formats of still pictures whose decoders are
widely fuzzed are tried. What is not a whole, single, sensibly sized picture is refused with a reason; what
can be repaired exactly (orientation, colour model, depth, transparency) is repaired and noted.

Decisions:

* **Filter**: the anti-aliased bicubic of Pillow, fixed, computed by fast_image_resize in a sixth of Pillow's time;
  integers throughout, so its bytes are the same with and without vector instructions. Masks take the nearest pixel of
  the same geometry.
* **ICC profiles are ignored**: pixels are taken as sRGB, as the field's loaders do, so that the same file
  gives the same bytes whatever colour engine a machine has.
* **Large JPEGs** are decoded at a half, a quarter or an eighth of their size, as long as that is at least
  ``jpeg_margin`` times the prepared size; docs/data.md has the measured difference from a full decoding.
* **Scans of a JPEG** are counted before it is decoded: each goes over the whole picture, so that a file of a few
  megabytes could keep a decoder busy for minutes. Encoders write a dozen.

Source: Pillow's modes, https://pillow.readthedocs.io/en/stable/handbook/concepts.html#modes
"""

from __future__ import annotations

import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, Any, Literal

import cykooz_resizer as resizing
import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from pydantic import Field

from vlp.params import Section

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
EXTENSIONS = {
    "PNG": {"png", "apng"},
    "JPEG": {"jpg", "jpeg", "jpe", "jfif"},
    "WEBP": {"webp"},
    "GIF": {"gif"},
    "BMP": {"bmp", "dib"},
    "TIFF": {"tif", "tiff"},
}
"""The file name extensions that each format of ``FORMATS`` goes by."""

_PILLOW_WARNS_ABOVE = 89_478_485  # Image.MAX_IMAGE_PIXELS: our own limit must speak first
_ORIENTATION = 0x0112
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# A marker with a segment behind it, or the end: in coded data FF is followed by 00 or by one of D0 to D7.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAGIC = {
    "PNG": (b"\x89PNG",),
    "JPEG": (b"\xff\xd8\xff",),
    "WEBP": (b"RIFF",),
    "GIF": (b"GIF8",),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*"),
}
# What Pillow's decoders raise on hostile bytes: the first four and struct.error when files of every format were
# mutated 160,000 times, the others by reading the decoders, which assert and compute as they parse.
_DECODE_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    EOFError,
    AttributeError,
    AssertionError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)


class ImageError(ValueError):
    """An image file that is refused: ``reason`` is a name that can be counted, ``detail`` says what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


Level = Annotated[int, Field(ge=0, le=255)]


class ImageParams(Section):
    """How images are read and brought to one size; the bundle carries it to the service."""

    size: int = Field(ge=16, le=1024, description="S, the side of a prepared image in pixels")
    resize: Literal["squash", "crop", "pad"] = Field(
        "squash", description="squash: ignore the aspect; crop: centre square; pad: whole picture on the background"
    )
    background: tuple[Level, Level, Level] = Field(
        (255, 255, 255), description="RGB under transparency and around padded pictures"
    )
    max_bytes: int = Field(20_000_000, gt=0, description="bytes of a file")
    max_pixels: int = Field(50_000_000, gt=0, le=_PILLOW_WARNS_ABOVE, description="width times height, from the header")
    jpeg_margin: float = Field(
        2.0, ge=1.0, le=8.0, description="sides of a JPEG that is decoded at a reduced scale, over the prepared size"
    )
    max_scans: int = Field(100, ge=1, description="passes over the picture of a progressive JPEG")
    min_side: int = Field(8, ge=1, description="pixels of the shorter side")
    max_aspect: float = Field(10.0, ge=1.0, description="longer side over shorter side")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """One image, ready for the model, and what decoding found."""

    pixels: np.ndarray
    """uint8 [S, S, 3], RGB."""
    notes: tuple[str, ...]
    """Repairs, sorted: ``alpha``, ``bilevel``, ``cmyk``, ``exif_rotated``, ``exif_unreadable``, ``greyscale``,
    ``lab``, ``multi_picture``, ``palette``, ``sixteen_bit``."""
    format: str
    """One of ``FORMATS``."""
    mode: str
    """Pillow's name of the file's colour model."""
    width: int
    """Pixels as shown, that is after EXIF orientation; so is height."""
    height: int


def prepare(data: bytes, params: ImageParams) -> Prepared:
    """Decode, check, repair and resize one image file.

    Args:
        data: the file's bytes.
        params: limits and geometry.

    Raises:
        ImageError: ``empty``, ``too_many_bytes``, ``not_an_image``, ``truncated``, ``corrupt``, ``animated``,
            ``tiny``, ``too_many_pixels``, ``too_many_scans``, ``extreme_aspect`` or ``unsupported_mode``.
    """
    with _opened(data, params, FORMATS) as image:
        notes, mode, shown = set[str](), image.mode, image.size
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        if image.format == "MPO":
            notes.add("multi_picture")
        if _sixteen_bit(image):
            notes.add("sixteen_bit")
        if kind == "TIFF" and _orientation(image, notes) in _TRANSPOSE:  # Pillow turns a TIFF itself as it loads
            notes.add("exif_rotated")
        if kind == "JPEG":
            least = round(params.jpeg_margin * params.size)
            image.draft(image.mode, (least, least))
        image.load()
        # After loading: reading a PNG's metadata decodes it, and would take the blame for broken pixels.
        if kind != "TIFF" and (turn := _orientation(image, notes)) in _TRANSPOSE:
            notes.add("exif_rotated")
            image = image.transpose(_TRANSPOSE[turn])
            shown = shown[::-1] if turn >= 5 else shown
        rgb = _to_rgb(image, params.background, notes)
        pixels = np.array(_fit(rgb, params, _bicubic, params.background))
    return Prepared(pixels=pixels, notes=tuple(sorted(notes)), format=kind, mode=mode, width=shown[0], height=shown[1])


def prepare_mask(png: bytes, params: ImageParams, size: tuple[int, int] | None = None) -> np.ndarray:
    """Bring a mask to bool [S, S] by the geometry of its image.

    Args:
        png: one channel, of the image's width and height as shown; 128 and more is inside.
        params: those that the image was prepared with.
        size: width and height that the mask must have; None to take it as it is.

    Raises:
        ImageError: as ``prepare``; ``mask_size``: not of its image's size; ``mask_empty``: nothing is inside.
    """
    with _opened(png, params, ("PNG",)) as mask:
        if size is not None and mask.size != size:
            found, wanted = "×".join(map(str, mask.size)), "×".join(map(str, size))
            raise ImageError("mask_size", f"the mask is {found} pixels, its image {wanted}")
        mask.load()
        inside = np.asarray(_fit(mask.convert("L"), params, _nearest, 0)) >= 128
        if not inside.any():
            raise ImageError("mask_empty", f"nothing of the region is left at {params.size} pixels")
        return inside


def over_picture(values: np.ndarray, params: ImageParams, width: int, height: int) -> np.ndarray:
    """A map over the prepared image as one over the whole picture that it was prepared from.

    Args:
        values: [n, n]: of parts of the prepared image, in rows.
        params: those that the image was prepared with.
        width: of the picture as shown, in pixels.
        height: likewise.

    Returns:
        [n, n] of the same type: the picture's own parts in rows, each by its nearest value; 0 where the model did not
        look, outside a centre square.
    """
    count, side = len(values), params.size
    middles = (np.arange(count) + 0.5) / count
    match params.resize:
        case "squash":
            return values
        case "crop":
            short = min(width, height)
            across, down = ((middles * length - (length - short) / 2) / short for length in (width, height))
        case "pad":
            across, down = (((side - inner) // 2 + middles * inner) / side for inner in _inner(width, height, side))
    columns, rows = (np.floor(places * count).astype(int) for places in (across, down))
    seen = ((rows >= 0) & (rows < count))[:, None] & ((columns >= 0) & (columns < count))[None, :]
    laid = values[np.ix_(rows.clip(0, count - 1), columns.clip(0, count - 1))]
    return np.where(seen, laid, np.zeros((), values.dtype))


def format_of(name: str) -> str | None:
    """The format that a file name's extension claims: one of ``FORMATS``, ``""`` for another one, None without any."""
    stem, dot, extension = name.rpartition(".")
    if not (dot and stem and extension.isalnum()):
        return None
    return next((kind for kind, known in EXTENSIONS.items() if extension.lower() in known), "")


@contextmanager
def _opened(data: bytes, params: ImageParams, formats: tuple[str, ...]) -> Iterator[Any]:
    """The opened, checked, not yet decoded image; faults of decoding inside the block become ``ImageError``."""
    if not data:
        raise ImageError("empty", "the file has no bytes")
    if len(data) > params.max_bytes:
        raise ImageError("too_many_bytes", f"{len(data)} bytes, allowed {params.max_bytes}")
    known = data.startswith(tuple(magic for kind in formats for magic in _MAGIC[kind]))
    try:
        with _quiet(), Image.open(BytesIO(data), formats=formats) as image:
            _check_header(image, params)
            if image.format == "PNG" and b"IEND" not in data:
                raise ImageError("truncated", "the file ends before the picture does")
            if image.format in ("JPEG", "MPO") and _scans(data, params.max_scans) > params.max_scans:
                raise ImageError("too_many_scans", f"the JPEG has more than the allowed {params.max_scans} scans")
            yield image
    except Image.DecompressionBombError as error:
        raise ImageError("too_many_pixels", str(error)) from None
    except ImageError:
        raise
    except _DECODE_FAULTS as error:
        if isinstance(error, UnidentifiedImageError) and not known:
            raise ImageError("not_an_image", f"none of {', '.join(formats)}") from None
        text = " ".join(str(error).split()) or type(error).__name__
        if "truncated" in text.lower() or _ends_early(data):
            raise ImageError("truncated", "the file ends before the picture does") from None
        if isinstance(error, UnidentifiedImageError):
            text = "the header cannot be read"
        raise ImageError("corrupt", text) from None


def _check_header(image: Any, params: ImageParams) -> None:
    width, height = image.size
    found = f"{width}×{height} pixels"
    if width * height > params.max_pixels:
        raise ImageError("too_many_pixels", f"{found}, allowed {params.max_pixels} in all")
    if min(width, height) < params.min_side:
        raise ImageError("tiny", f"{found}, the shorter side must have {params.min_side}")
    if max(width, height) > params.max_aspect * min(width, height):
        raise ImageError("extreme_aspect", f"{found}, sides may differ by a factor of {params.max_aspect:g}")
    # A JPEG with previews or a depth map behind it (MPO, as telephones write) is still one picture.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise ImageError("animated", "more than one frame or page")


def _scans(jpeg: bytes, most: int) -> int:
    """How many scans the first picture of a file has, counted no further than one above ``most``.

    Thumbnails inside a segment and whatever follows the picture (a second one, a film) do not count.

    Source: ITU-T T.81, annex B.1, https://www.w3.org/Graphics/JPEG/itu-t81.pdf
    """
    found, place = 0, 2
    if jpeg.count(bytes((0xFF, _START_OF_SCAN))) <= most:
        return 0  # not even if all of them were: nearly every file
    while found <= most and (marker := _MARKER.search(jpeg, place)):
        kind = jpeg[marker.start() + 1]
        if kind == _END_OF_IMAGE:
            break
        found += kind == _START_OF_SCAN
        place = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2])
    return found


def _ends_early(data: bytes) -> bool:
    """Whether a file that did not decode lacks the mark that ends its format."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-64:]
    if data.startswith(b"GIF8"):
        return not data.endswith(b";")
    if data.startswith(b"RIFF"):
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if data.startswith(b"BM"):
        return len(data) < int.from_bytes(data[2:6], "little")
    return False


def _sixteen_bit(image: Any) -> bool:
    """Whether the file stores 16 bits a channel; must be asked before the pixels are loaded."""
    if image.mode.startswith("I;16"):
        return True
    if image.format == "BMP":  # BGR;16 is five or six bits a channel
        return False
    packing = (tile[3][0] if isinstance(tile[3], tuple) else tile[3] for tile in image.tile)
    return any(";16" in str(name) for name in packing)


def _orientation(image: Any, notes: set[str]) -> int:
    """EXIF orientation 1–8; metadata that cannot be read is noted and does not cost the picture."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except _DECODE_FAULTS:
        notes.add("exif_unreadable")
        return 1


def _to_rgb(image: Any, background: tuple[int, int, int], notes: set[str]) -> Any:
    """RGB of a loaded image of any mode that a format of ``FORMATS`` can have."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and "sixteen_bit" in notes):
        notes.add("greyscale")
        values = np.asarray(image).astype(np.uint32)
        grey = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
        if isinstance(clear := image.info.get("transparency"), int):  # the one value that a PNG shows nothing for
            notes.add("alpha")
            grey.paste(background, mask=Image.fromarray((values == clear).astype(np.uint8) * np.uint8(255)))
        return grey
    if mode in ("I", "F"):
        raise ImageError("unsupported_mode", f"{mode}: 32 bits a channel have no agreed white")
    for note, modes in {
        "bilevel": ("1",),
        "greyscale": ("L", "LA", "La"),
        "palette": ("P", "PA"),
        "cmyk": ("CMYK",),
        "lab": ("LAB",),
    }.items():
        if mode in modes:
            notes.add(note)
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if image.has_transparency_data:
        notes.add("alpha")
        above = image.convert("RGBA")
        below = Image.new("RGB", image.size, background)
        below.paste(above, mask=above.getchannel("A"))
        return below
    return image if mode == "RGB" else image.convert("RGB")


_Box = tuple[float, float, float, float]
"""Left, upper, right and lower edge in pixels."""
_CATMULL_ROM = resizing.ResizeAlg.convolution(resizing.FilterType.catmull_rom)


def _bicubic(image: Any, size: tuple[int, int], box: _Box) -> Any:
    """The part ``box`` of an RGB image at ``size``; what has that size already is not touched."""
    left, top, right, bottom = box
    whole = (right - left, bottom - top) == image.size
    if whole and image.size == size:
        return image
    part = resizing.CropBox(left, top, right - left, bottom - top)
    fitted = Image.new("RGB", size)
    # One a call: it has buffers of its own, which threads must not share, and costs nothing to make.
    resizing.Resizer().resize_pil(image, fitted, resizing.ResizeOptions(resize_alg=_CATMULL_ROM, crop_box=part))
    return fitted


def _nearest(image: Any, size: tuple[int, int], box: _Box) -> Any:
    return image.resize(size, Image.Resampling.NEAREST, box=box)


def _fit(image: Any, params: ImageParams, resize: Callable[[Any, tuple[int, int], _Box], Any], fill: Any) -> Any:
    """Bring ``image`` to S × S; images and masks of one size go through the same boxes."""
    side, (width, height) = params.size, image.size
    match params.resize:
        case "squash":
            return resize(image, (side, side), (0, 0, width, height))
        case "crop":
            short = min(width, height)
            left, top = (width - short) / 2, (height - short) / 2
            return resize(image, (side, side), (left, top, left + short, top + short))
        case "pad":
            inner = _inner(width, height, side)
            whole = Image.new(image.mode, (side, side), fill)
            fitted = resize(image, inner, (0, 0, width, height))
            whole.paste(fitted, ((side - inner[0]) // 2, (side - inner[1]) // 2))
            return whole


def _inner(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height of a padded picture inside its square."""
    longer = max(width, height)
    return max(1, round(width * side / longer)), max(1, round(height * side / longer))


class _Silence:
    """Pillow's warnings off while any thread decodes.

    ``warnings.catch_warnings`` alone restores the wrong filters when two threads' blocks overlap: the last to
    leave would leave them off for ever. Here the first to enter saves them and the last to leave restores.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.depth = 0
        self.saved: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self.lock:
            if self.depth == 0:
                self.saved = warnings.catch_warnings()
                self.saved.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\b")
            self.depth += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.depth -= 1
            if self.depth == 0 and self.saved is not None:
                self.saved.__exit__(None, None, None)


_silence = _Silence()


def _quiet() -> _Silence:
    return _silence
