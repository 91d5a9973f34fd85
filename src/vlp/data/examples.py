"""Prepared examples as Arrow rows: pixels, clean texts, and token ids beside every text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vlp.data import shards
from vlp.records import Caption, Example, Question

_text = pa.string()
_ids = pa.list_(pa.int32())

EXAMPLES = pa.schema(
    [
        pa.field("id", _text, nullable=False),
        pa.field("group", _text, nullable=False),
        pa.field("image", pa.binary(), nullable=False),  # uint8 [S, S, 3], row-major
        pa.field(
            "captions",
            pa.list_(pa.struct({"text": _text, "ids": _ids, "negative": _text, "negative_ids": _ids, "kind": _text})),
        ),
        pa.field("labels", pa.list_(_text)),
        pa.field("questions", pa.list_(pa.struct({"text": _text, "ids": _ids, "answer": _text, "type": _text}))),
        # mask: bool [S, S] row-major, packed eight pixels a byte (numpy.packbits)
        pa.field("regions", pa.list_(pa.struct({"expression": _text, "ids": _ids, "mask": pa.binary()}))),
        pa.field("annotation", _text),
    ]
)
"""One row an ``Example``, every text beside its token ids; lists are empty rather than null."""


def texts(example: Example) -> Iterator[str]:
    """Every text of an example that becomes tokens: captions, negatives, questions, expressions."""
    for caption in example.captions:
        yield caption.text
        if caption.negative is not None:
            yield caption.negative
    yield from (question.text for question in example.questions)
    yield from (expression for expression, _ in example.regions)


def to_row(example: Example, ids: Mapping[str, list[int]]) -> dict[str, Any]:
    """The row of ``EXAMPLES`` of one example.

    Args:
        example: prepared.
        ids: the token ids of each of ``texts(example)``.
    """
    return {
        "id": example.id,
        "group": example.group,
        "image": example.image.tobytes(),
        "captions": [
            {
                **asdict(caption),
                "ids": ids[caption.text],
                "negative_ids": None if caption.negative is None else ids[caption.negative],
            }
            for caption in example.captions
        ],
        "labels": list(example.labels),
        "questions": [{**asdict(question), "ids": ids[question.text]} for question in example.questions],
        "regions": [
            {"expression": expression, "ids": ids[expression], "mask": np.packbits(mask).tobytes()}
            for expression, mask in example.regions
        ],
        "annotation": example.annotation,
    }


def from_row(row: Mapping[str, Any]) -> Example:
    """The example of a row of ``EXAMPLES``: the inverse of ``to_row``, without the token ids."""
    side = math.isqrt(len(row["image"]) // 3)
    return Example(
        id=row["id"],
        group=row["group"],
        image=np.frombuffer(row["image"], np.uint8).reshape(side, side, 3),
        captions=tuple(
            Caption(text=item["text"], negative=item["negative"], kind=item["kind"]) for item in row["captions"]
        ),
        labels=tuple(row["labels"]),
        questions=tuple(
            Question(text=item["text"], answer=item["answer"], type=item["type"]) for item in row["questions"]
        ),
        regions=tuple((item["expression"], unpack_mask(item["mask"], side)) for item in row["regions"]),
        annotation=row["annotation"],
    )


def unpack_mask(packed: bytes, side: int) -> np.ndarray:
    """Bool [S, S] of a region's packed mask."""
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=side * side).reshape(side, side).astype(bool)


def write(folder: Path, split: str, examples: Iterable[tuple[Example, Mapping[str, list[int]]]]) -> int:
    """Write examples, each with the token ids of its texts, as the shards ``<split>-*``; returns how many."""
    return shards.write(folder, split, (to_row(example, ids) for example, ids in examples), EXAMPLES)


def read(folder: Path, split: str) -> Iterator[Example]:
    """The examples of the shards ``<split>-*`` in ``folder``, in order, one at a time."""
    yield from map(from_row, shards.read(folder, split))
