"""Scenes for the training benchmarks, twice from the same records: prepared shards, and plain files with a table.

The plain files are what a tutorial's loop reads: one PNG or JPEG a picture, one row a pair of picture and statement
with its label, 1 where the statement is true.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vlp.data import examples
from vlp.data.loading import Prepared
from vlp.data.parallel import ordered_map
from vlp.data.sources import scenes
from vlp.data.summary import summarise
from vlp.files import write_json
from vlp.preprocessing import image, text
from vlp.records import Example, Record

SPLITS = {"train": 0.8, "validation": 0.05, "test": 0.15}
TEXT = text.TextParams(max_words=40, max_tokens=32, vocabulary=1000)


@dataclass(frozen=True, slots=True)
class Made:
    """What ``make`` left: prepared shards, and the table of plain files."""

    prepared: Prepared
    pairs: Path


def make(folder: Path, count: int, size: int, seed: int = 11) -> Made:
    """``count`` clean scenes, prepared at ``size`` pixels; made once, by all cores."""
    if not (folder / "pairs.jsonl").is_file():
        _make(folder, count, size, seed)
    return Made(Prepared(folder), folder / "pairs.jsonl")


def _make(folder: Path, count: int, size: int, seed: int) -> None:
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    params = scenes.Params(records=count, image_size=size, captions=6, faults=0.0)
    one = partial(_one, params=params, seed=seed, image_params=image.ImageParams(size=size))
    records, found = zip(*ordered_map(one, range(count)), strict=True)
    texts = sorted({each for example in found for each in examples.texts(example)})
    tokenizer = text.train_tokenizer(texts, TEXT)
    ids = dict(zip(texts, text.encode(tokenizer, texts, TEXT), strict=True))
    start = 0
    for split, share in SPLITS.items():
        stop = start + round(share * count)
        examples.write(folder, split, ((example, ids) for example in found[start:stop]))
        start = stop
    (folder / "tokenizer").mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    train = records[: round(SPLITS["train"] * count)]
    summary = summarise(folder, tokenizer, image_size=size, max_tokens=TEXT.max_tokens)
    write_json(folder / "summary.json", summary)
    rows = [row for record in train for row in _plain(folder, record)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _one(number: int, params: scenes.Params, seed: int, image_params: image.ImageParams) -> tuple[Record, Example]:
    record = scenes.record(number, params=params, seed=seed)
    return record, _example(record, image_params)


def _example(record: Record, params: image.ImageParams) -> Example:
    return Example(
        id=record.id,
        group=record.group,
        image=image.prepare(record.image, params).pixels,
        captions=record.captions,
        labels=record.labels,
        questions=record.questions,
        regions=tuple((region.expression, image.prepare_mask(region.mask, params)) for region in record.regions),
        annotation=record.annotation,
    )


def _plain(folder: Path, record: Record) -> list[dict[str, Any]]:
    path = folder / "pictures" / record.image_name
    path.write_bytes(record.image)
    said = [(caption.text, 1) for caption in record.captions]
    said += [(caption.negative, 0) for caption in record.captions if caption.negative is not None]
    return [{"image": str(path), "caption": caption, "label": label} for caption, label in said]
