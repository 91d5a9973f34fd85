"""A picture under its heat map, and several of them side by side with a line of words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FOR, AGAINST = (16, 185, 129), (244, 63, 94)
"""Colours of a heat map: what speaks for what was said, and what speaks against it."""
_MARGIN, _LINE = 6, 18
_INK, _PAPER = (31, 41, 55), (255, 255, 255)


def overlay(pixels: np.ndarray, heat: np.ndarray, least_side: int = 512) -> np.ndarray:
    """uint8 [W, W, 3]: the picture, greyed, with ``heat`` in green where it is positive and red elsewhere.

    Args:
        pixels: uint8 [S, S, 3].
        heat: [G, G].
        least_side: W is this, or S where that is more.
    """
    side = max(least_side, len(pixels))
    picture = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS), np.float32)
    strongest = max(float(np.abs(heat).max()), 1e-6)
    smooth = Image.fromarray((heat / strongest).astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    strength = np.clip(np.asarray(smooth), -1, 1)[..., None]
    grey = 0.6 * picture.mean(2, keepdims=True) + 0.4 * picture
    colour = np.where(strength > 0, np.array(FOR, np.float32), np.array(AGAINST, np.float32))
    share = 0.7 * np.abs(strength)
    return np.asarray((grey * (1 - share) + colour * share).round(), np.uint8)


def strip(tiles: Sequence[tuple[str, np.ndarray]], side: int = 128, columns: int = 8) -> np.ndarray:
    """Pictures with their words below, row by row: uint8 [H, W, 3].

    Args:
        tiles: words and picture, uint8 [*, *, 3] and square.
        side: of each, in pixels.
        columns: at most, in a row.
    """
    across = min(columns, len(tiles))
    rows = -(-len(tiles) // across)
    width, height = side + _MARGIN, side + _LINE + _MARGIN
    sheet = Image.new("RGB", (across * width + _MARGIN, rows * height + _MARGIN), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for number, (text, tile) in enumerate(tiles):
        row, column = divmod(number, across)
        left, top = _MARGIN + column * width, _MARGIN + row * height
        sheet.paste(Image.fromarray(tile).resize((side, side), Image.Resampling.LANCZOS), (left, top))
        draw.text((left + side // 2, top + side + 2), _fitted(text, font, side), fill=_INK, font=font, anchor="ma")
    return np.asarray(sheet)


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2] + "…"
    return text
