"""The README's picture of real outputs: test images with their statements and what the trained model says of them.

    python scripts/pictures.py        # after `make repro`; writes docs/images/matching.png

The first images of the test split, in order; nothing is picked by hand.
"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vlp.data import examples

PREDICTIONS = Path("reports/evaluation/matching/predictions.jsonl")
OUT = Path("docs/images/matching.png")
COLUMNS, ROWS, STATEMENTS = 2, 3, 3
SCALE, MARGIN, TEXT_WIDTH, LINE = 3, 16, 470, 18
INK, MUTED, RIGHT, WRONG, PAPER = "#1b1f24", "#6b7280", "#15803d", "#b91c1c", "#ffffff"


def main() -> None:
    """Draw the sheet."""
    scores: dict[str, list[tuple[float, float]]] = {}
    for line in PREDICTIONS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
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
    OUT.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(OUT, optimize=True)


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
