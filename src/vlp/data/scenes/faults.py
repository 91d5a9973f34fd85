"""Deliberate dirt, as collected data has it, at known records.

``plan`` says which record gets which one fault; ``spoil_image``, ``copy_nearly`` and ``spoil_text`` do
it. The names of faults are the reasons that validation gives, so that what was injected and what was
found can be compared; the pipeline itself never reads the plan.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vlp.data.scenes.codec import encode, jpeg, png, png16

COPIES = ("exact_duplicate", "near_duplicate")
"""Faults of a record that shows an earlier record's picture."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The one fault of a dirty record."""

    name: str
    field: str
    """``image`` or ``captions``."""
    source: int | None = None
    """For a copy: the clean, earlier record whose picture it shows."""


File = tuple[bytes, str]
"""The bytes of an image file, and the extension of its name."""


@dataclass(frozen=True, slots=True)
class Clean:
    """What an image fault is made from."""

    rng: random.Random
    pixels: np.ndarray
    """uint8 [S, S, 3]."""
    image: bytes
    """The clean file: PNG or JPEG."""


def plan(records: int, share: float, seed: int) -> dict[int, Fault]:
    """Choose the dirty records and their faults, each type as often as any other, up to one.

    Record 0 stays clean, so that every copy has an earlier record to copy from.

    Args:
        records: how many there are.
        share: how much of them becomes dirty.
        seed: of the choice.

    Returns:
        By record number, rising.
    """
    rng = random.Random(f"{seed}/faults")
    dirty = rng.sample(range(1, records), min(round(share * records), records - 1))
    kinds = [*(("image", name) for name in (*_IMAGE, *COPIES)), *(("captions", name) for name in _TEXT)]
    rng.shuffle(kinds)
    chosen = dict(zip(dirty, (kinds[number % len(kinds)] for number in range(len(dirty))), strict=True))
    faults = {}
    for index in sorted(chosen):
        field, name = chosen[index]
        source = rng.randrange(index) if name in COPIES else None
        while source in chosen:
            source = rng.randrange(index)
        faults[index] = Fault(name=name, field=field, source=source)
    return faults


def spoil_image(name: str, clean: Clean) -> File:
    """Make the image fault ``name`` (any but the copies) of a clean picture."""
    return _IMAGE[name](clean)


def copy_nearly(rng: random.Random, pixels: np.ndarray) -> tuple[bytes, str, int]:
    """The picture once more as another file: re-encoded, brighter or darker, or without its outermost pixels.

    Returns:
        The file, its name's extension, and how many pixels were cut off each side.
    """
    way = rng.choice(("encoded", "brightness", "crop"))
    if way == "encoded":
        return jpeg(Image.fromarray(pixels), rng.randint(85, 92)), "jpg", 0
    if way == "brightness":
        levels = np.clip(pixels.astype(np.int16) + rng.choice((-2, 2)), 0, 255)
        return png(Image.fromarray(levels.astype(np.uint8))), "png", 0
    return png(Image.fromarray(np.ascontiguousarray(pixels[1:-1, 1:-1]))), "png", 1


def spoil_text(name: str, rng: random.Random, text: str) -> str:
    """Make the caption fault ``name`` of a clean caption."""
    return _TEXT[name](rng, text)


def _truncated(clean: Clean) -> File:
    return clean.image[: int(len(clean.image) * clean.rng.uniform(0.2, 0.8))], _extension(clean.image)


def _empty(clean: Clean) -> File:
    return b"", _extension(clean.image)


def _wrong_extension(clean: Clean) -> File:
    return clean.image, clean.rng.choice(
        [name for name in ("jpg", "png", "gif", "webp") if name != _extension(clean.image)]
    )


def _tiny(clean: Clean) -> File:
    side = clean.rng.randint(1, 6)
    return png(Image.fromarray(clean.pixels).resize((side, side), Image.Resampling.BILINEAR)), "png"


def _cmyk(clean: Clean) -> File:
    return jpeg(Image.fromarray(clean.pixels).convert("CMYK"), 95), "jpg"


def _greyscale(clean: Clean) -> File:
    return png(Image.fromarray(clean.pixels).convert("L")), "png"


def _palette(clean: Clean) -> File:
    return png(Image.fromarray(clean.pixels).quantize(128)), "png"


def _sixteen_bit(clean: Clean) -> File:
    return png16(clean.pixels), "png"


def _alpha(clean: Clean) -> File:
    """Opaque but for a soft frame of two clean.pixels, so that the things stay what they are."""
    opacity = np.full(clean.pixels.shape[:2], clean.rng.randint(40, 120), dtype=np.uint8)
    opacity[2:-2, 2:-2] = 255
    return png(Image.fromarray(np.dstack([clean.pixels, opacity]))), "png"


def _exif_rotated(clean: Clean) -> File:
    """Stored turned, with the tag that turns it back: what a phone held upright writes."""
    turn = Image.Transpose
    tag, stored = clean.rng.choice(((3, turn.ROTATE_180), (6, turn.ROTATE_90), (8, turn.ROTATE_270)))
    exif = Image.Exif()
    exif[0x0112] = tag
    return jpeg(Image.fromarray(clean.pixels).transpose(stored), 95, exif=exif), "jpg"


def _animated(clean: Clean) -> File:
    shifts = (0, *clean.rng.sample(range(1, len(clean.pixels)), clean.rng.randint(1, 3)))
    first, *others = (Image.fromarray(np.roll(clean.pixels, shift, axis=1)) for shift in shifts)
    kind, extension = clean.rng.choice((("GIF", "gif"), ("PNG", "png"), ("WEBP", "webp")))
    return encode(first, kind, save_all=True, append_images=others, duration=100), extension


_IMAGE: dict[str, Callable[[Clean], File]] = {
    "empty": _empty,
    "truncated": _truncated,
    "wrong_extension": _wrong_extension,
    "tiny": _tiny,
    "cmyk": _cmyk,
    "greyscale": _greyscale,
    "palette": _palette,
    "sixteen_bit": _sixteen_bit,
    "alpha": _alpha,
    "exif_rotated": _exif_rotated,
    "animated": _animated,
}


def _extension(image: bytes) -> str:
    return "jpg" if image.startswith(b"\xff\xd8") else "png"


def _html(rng: random.Random, text: str) -> str:
    first, _, rest = text.partition(" ")
    forms = ("<p>{0} {1}</p>", "{0} <b>{1}</b><br/>", '<a href="view?id=7&amp;s=2">{0} {1}</a>', "{0}&nbsp;{1}<br>")
    return rng.choice(forms).format(first, rest)


def _control_characters(rng: random.Random, text: str) -> str:
    place = rng.randrange(1, len(text))
    return text[:place] + rng.choice(("\x00", "\x07", "\x08", "\x0b", "\x1b[31m", "\x7f")) + text[place:]


def _mojibake(rng: random.Random, text: str) -> str:
    """Typographic marks and accents, written as UTF-8 and read as Latin-1."""
    forms = ("\u201c{}\u201d", "{}\u2026", "d\u00e9j\u00e0 vu \u2013 {}", "{} \u2014 voil\u00e0", "caf\u00e9: {}")
    return rng.choice(forms).format(text).encode("utf-8").decode("latin-1")


_FOREIGN = (
    "图片里有一个红色的圆形",
    "左边的星星比右边的方块大",
    "на картинке есть красный круг",
    "слева от звезды находится зелёный квадрат",
    "في الصورة دائرة حمراء",
    "υπάρχει ένας κόκκινος κύκλος",
    "この絵には赤い丸があります",
    "चित्र में एक लाल वृत्त है",
    "그림에 빨간 원이 있습니다",
    "בתמונה יש עיגול אדום",
)
"""What people write who do not write English: a picture, a circle, a star."""

_TEXT: dict[str, Callable[[random.Random, str], str]] = {
    "empty": lambda rng, _: rng.choice(("", " ", "\n", " \t ")),
    "too_long": lambda rng, text: " ".join([text] * rng.randint(30, 80)),
    "html": _html,
    "control_characters": _control_characters,
    "mojibake": _mojibake,
    "script": lambda rng, _: rng.choice(_FOREIGN),
    "contradicts_annotation": lambda _, text: text,  # the caller passes a caption of another picture
}
