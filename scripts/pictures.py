"""The README's pictures of real outputs: test images with statements and what the trained model says of them, and
what it draws of captions.

    python scripts/pictures.py        # after `make repro`; writes docs/images/matching.png and generated.png

The first of the test split, in order; nothing is picked by hand.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from vlp.data import examples

EVALUATION = Path("reports/evaluation")
OUT = Path("docs/images")
COLUMNS, ROWS, STATEMENTS = 2, 3, 3
DRAWN_ROWS, DRAWN = 2, 8
"""Of the sheet that evaluation leaves, and in a row of it."""
SCALE, MARGIN, TEXT_WIDTH, LINE = 3, 16, 470, 18
INK, MUTED, RIGHT, WRONG, PAPER = "#1b1f24", "#6b7280", "#15803d", "#b91c1c", "#ffffff"


def main() -> None:
    """Draw the sheets."""
    OUT.mkdir(parents=True, exist_ok=True)
    matching().save(OUT / "matching.png", optimize=True)
    generated().save(OUT / "generated.png", optimize=True)


def matching() -> Image.Image:
    """Pictures, statements and scores."""
    scores: dict[str, list[tuple[float, float]]] = {}
    for row in _predictions("matching"):
        scores.setdefault(row["record"], []).append((row["score"], row["negative_score"]))
    shown = [
        example for example, _ in zip(examples.read(Path("data/prepared"), "test"), range(COLUMNS * ROWS), strict=False)
    ]
    side = shown[0].image.shape[0] * SCALE
    cell = (side + TEXT_WIDTH + 2 * MARGIN, side + MARGIN)
    sheet = Image.new("RGB", (cell[0] * COLUMNS, cell[1] * ROWS + MARGIN), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for place, example in enumerate(shown):
        left, top = (place % COLUMNS) * cell[0] + MARGIN, (place // COLUMNS) * cell[1] + MARGIN
        picture = Image.fromarray(example.image).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(picture, (left, top))
        pairs = list(zip(example.captions, scores[example.id], strict=True))[:STATEMENTS]
        for number, (caption, (true, false)) in enumerate(pairs):
            at = (left + side + MARGIN, top + number * 3 * LINE + 4)
            _line(draw, font, at, true, caption.text, RIGHT if true > false else WRONG)
            _line(draw, font, (at[0], at[1] + LINE), false, caption.negative or "", MUTED)
    return sheet


def generated() -> Image.Image:
    """What was drawn of the first prompts, and whether the parser found it true."""
    tiles = Image.open(EVALUATION / "generation" / "samples.png")
    tile = tiles.width // DRAWN  # a picture and a line of white around it
    side = (tile - 2) * 2
    high = side + 4 * LINE + MARGIN
    sheet = Image.new("RGB", (DRAWN * (side + MARGIN) + MARGIN, DRAWN_ROWS * high + MARGIN), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for place, row in enumerate(_predictions("generation")[: DRAWN_ROWS * DRAWN]):
        down, across = divmod(place, DRAWN)
        left, top = MARGIN + across * (side + MARGIN), MARGIN + down * high
        corner = (across * tile + 1, down * tile + 1)
        picture = tiles.crop((*corner, corner[0] + tile - 2, corner[1] + tile - 2))
        sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), (left, top))
        words = "\n".join(textwrap.wrap(row["prompt"], 18))
        colour = {True: RIGHT, False: WRONG, None: INK}[row.get("faithful")]
        draw.multiline_text((left, top + side + 6), words, fill=colour, font=font, spacing=3)
    return sheet


def _predictions(task: str) -> list[dict[str, Any]]:
    lines = (EVALUATION / task / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _line(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    at: tuple[float, float],
    score: float,
    text: str,
    colour: str,
) -> None:
    draw.text(at, f"{score:.2f}", fill=colour, font=font)
    draw.text((at[0] + 44, at[1]), text, fill=INK if colour != MUTED else MUTED, font=font)


if __name__ == "__main__":
    main()
