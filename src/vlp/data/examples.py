"""Prepared examples as Arrow rows: pixels, clean texts, and token ids beside every text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vlp.data import shards
from vlp.records import Caption, Example, Question

Ids = Mapping[str, list[int]]
"""Token ids by text."""

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
        pa.field(
            "questions",
            pa.list_(pa.struct({"text": _text, "ids": _ids, "answer": _text, "type": _text, "given": pa.list_(_text)})),
        ),
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


def pack(rows: Sequence[tuple[Example, Ids]]) -> pa.RecordBatch:
    """A batch of ``EXAMPLES``.

    Column by column: a Python object for each of two hundred token ids a row is what the plain way would cost.

    Args:
        rows: examples of one size, each with the token ids of ``texts(example)``.
    """
    captions = [[(caption, ids) for caption in example.captions] for example, ids in rows]
    questions = [[(question, ids) for question in example.questions] for example, ids in rows]
    regions = [[(*region, ids) for region in example.regions] for example, ids in rows]
    columns = [
        pa.array([example.id for example, _ in rows], _text),
        pa.array([example.group for example, _ in rows], _text),
        pa.array([example.image.tobytes() for example, _ in rows], pa.binary()),
        _lists(
            captions,
            lambda flat: [
                pa.array([caption.text for caption, _ in flat], _text),
                _id_lists([ids[caption.text] for caption, ids in flat]),
                pa.array([caption.negative for caption, _ in flat], _text),
                _id_lists([None if caption.negative is None else ids[caption.negative] for caption, ids in flat]),
                pa.array([caption.kind for caption, _ in flat], _text),
            ],
            EXAMPLES.field("captions").type,
        ),
        pa.array([list(example.labels) for example, _ in rows], pa.list_(_text)),
        _lists(
            questions,
            lambda flat: [
                pa.array([question.text for question, _ in flat], _text),
                _id_lists([ids[question.text] for question, ids in flat]),
                pa.array([question.answer for question, _ in flat], _text),
                pa.array([question.type for question, _ in flat], _text),
                pa.array([list(question.given) for question, _ in flat], pa.list_(_text)),
            ],
            EXAMPLES.field("questions").type,
        ),
        _lists(
            regions,
            lambda flat: [
                pa.array([expression for expression, _, _ in flat], _text),
                _id_lists([ids[expression] for expression, _, ids in flat]),
                pa.array([np.packbits(mask).tobytes() for _, mask, _ in flat], pa.binary()),
            ],
            EXAMPLES.field("regions").type,
        ),
        pa.array([example.annotation for example, _ in rows], _text),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=EXAMPLES)


def _lists(rows: list[list[Any]], fields: Callable[[list[Any]], list[pa.Array]], kind: pa.ListType) -> pa.ListArray:
    """A column of lists of structs; ``fields`` makes the structs' arrays of the items of all rows."""
    structs = pa.StructArray.from_arrays(fields(list(chain.from_iterable(rows))), fields=list(kind.value_type))
    return pa.ListArray.from_arrays(_offsets(rows), structs, type=kind)


def _id_lists(texts: list[list[int] | None]) -> pa.ListArray:
    whole = [text or [] for text in texts]
    ids = np.fromiter(chain.from_iterable(whole), np.int32)
    missing = pa.array([text is None for text in texts], pa.bool_()) if None in texts else None
    return pa.ListArray.from_arrays(_offsets(whole), pa.array(ids, pa.int32()), type=_ids, mask=missing)


def _offsets(rows: Sequence[Sequence[Any]]) -> pa.Array:
    return pa.array(np.cumsum([0, *map(len, rows)]), pa.int32())


def from_row(row: Mapping[str, Any]) -> Example:
    """The example of a row of ``EXAMPLES``: what ``pack`` was given, without the token ids."""
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
            Question(text=item["text"], answer=item["answer"], type=item["type"], given=tuple(item["given"]))
            for item in row["questions"]
        ),
        regions=tuple((item["expression"], unpack_mask(item["mask"], side)) for item in row["regions"]),
        annotation=row["annotation"],
    )


def unpack_mask(packed: bytes, side: int) -> np.ndarray:
    """Bool [S, S] of a region's packed mask."""
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=side * side).reshape(side, side).astype(bool)


def writer(folder: Path, split: str) -> shards.Writer[tuple[Example, Ids]]:
    """Writes examples, each with the token ids of its texts, as the shards ``<split>-*`` in ``folder``."""
    return shards.Writer(folder, split, EXAMPLES, pack)


def write(folder: Path, split: str, rows: Iterable[tuple[Example, Ids]]) -> int:
    """Write all of ``rows`` with a ``writer``; returns how many."""
    with writer(folder, split) as shard:
        for row in rows:
            shard.add(row)
    return shard.count


def read(folder: Path, split: str) -> Iterator[Example]:
    """The examples of the shards ``<split>-*`` in ``folder``, in order, one at a time."""
    yield from map(from_row, shards.read(folder, split))
