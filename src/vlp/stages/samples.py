"""``samples``: a few test records as a client would send them, each text beside the score it was evaluated with.

What serves a bundle is asked about them before it serves anybody else: it must answer as the evaluation did.
"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from vlp.stages.base import run
from vlp.data import shards
from vlp.data.shards import ShardError
from vlp.files import atomic, lines, write_jsonl
from vlp.params import Section

PREPARED, PREDICTIONS = Path("data/prepared"), Path("reports/evaluation/matching/predictions.jsonl")
SAMPLES = Path("reports/samples")
RECORDS = 24


class Params(Section):
    """The sections that this stage reads: none."""


def main() -> None:
    """Write the first test records that matching answered: ``samples.jsonl``, and each picture as a PNG."""
    scores: dict[str, list[float]] = {}
    if PREDICTIONS.exists():  # without the task there is nothing to sample, and the file says so by being empty
        for _, line in lines(PREDICTIONS):
            row = json.loads(line)
            scores.setdefault(row["record"], []).append(row["score"])
    table = shards.open_table(PREPARED, "test")
    rows: list[dict[str, object]] = []
    with atomic(SAMPLES, folder=True) as folder:
        for index, record in enumerate(table["id"].to_pylist()):
            texts = [caption["text"] for caption in table["captions"][index].as_py()]
            # A caption that found no negative has no score; then which score is whose is not certain.
            if len(rows) == RECORDS or len(texts) != len(scores.get(record, ())):
                continue
            name = f"{len(rows):02d}.png"
            _picture(table["image"][index].as_py()).save(folder / name)
            rows.append({"record": record, "image": name, "texts": texts, "scores": scores[record]})
        if scores and not rows:
            raise ShardError(f"{PREDICTIONS}: no test record of {PREPARED} is among them; run evaluate again")
        write_jsonl(folder / "samples.jsonl", rows)


def _picture(pixels: bytes) -> Image.Image:
    """uint8 [S, S, 3] as a picture; a PNG loses nothing."""
    side = round((len(pixels) / 3) ** 0.5)
    return Image.frombytes("RGB", (side, side), pixels)


if __name__ == "__main__":
    run(main)
