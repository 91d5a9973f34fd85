"""Memory-mapped Arrow shards: the only storage between stages.

Two schemas share one way of writing and opening: ``RECORDS`` (as collected: image bytes) and
``EXAMPLES`` (prepared: pixels and token ids). A shard is an Arrow IPC file, ``<name>-00000.arrow``;
nothing in it is executable, and opening one maps it into memory, so that a million rows cost no more
memory than one.

Source: Arrow columnar format, https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from vlp.records import Caption, Question, Record, Region

ROWS_PER_SHARD = 4096
ROWS_PER_BATCH = 256

_text = pa.string()
_ids = pa.list_(pa.int32())

RECORDS = pa.schema(
    [
        pa.field("id", _text, nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("image_name", _text, nullable=False),
        pa.field("captions", pa.list_(pa.struct({"text": _text, "negative": _text, "kind": _text}))),
        pa.field("group", _text, nullable=False),
        pa.field("split", _text),
        pa.field("labels", pa.list_(_text)),
        pa.field("questions", pa.list_(pa.struct({"text": _text, "answer": _text, "type": _text}))),
        pa.field("regions", pa.list_(pa.struct({"expression": _text, "mask": pa.binary()}))),
        pa.field("annotation", _text),
        pa.field("fault", _text),
    ]
)
"""One row a ``Record``, field by field."""

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
"""One row an ``Example``, every text beside its token ids."""


class ShardError(ValueError):
    """A folder of shards is missing, empty, of another schema, or not readable."""


def write(folder: Path, name: str, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> int:
    """Write ``rows`` as ``<name>-00000.arrow``, … in ``folder``; returns how many rows.

    The same rows give the same bytes, no rows give one empty shard. Memory holds ``ROWS_PER_BATCH``
    rows at a time.
    """
    rows = iter(rows)
    count = 0
    batch = list(itertools.islice(rows, ROWS_PER_BATCH))
    for shard in itertools.count():
        with pa.ipc.new_file(str(folder / f"{name}-{shard:05d}.arrow"), schema) as writer:
            for _ in range(ROWS_PER_SHARD // ROWS_PER_BATCH):
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
                count += len(batch)
                batch = list(itertools.islice(rows, ROWS_PER_BATCH))
                if not batch:
                    return count
    raise AssertionError("unreachable")


def paths(folder: Path, name: str) -> list[Path]:
    """The shards of ``name`` in ``folder``, in order.

    Raises:
        ShardError: there is none.
    """
    found = sorted(folder.glob(f"{name}-*.arrow"))
    if not found:
        raise ShardError(f"{folder}: no shard {name}-*.arrow")
    return found


def open_table(folder: Path, name: str) -> pa.Table:
    """All shards of ``name`` as one memory-mapped table: nothing is read until it is looked at.

    Raises:
        ShardError: there is none, or one is not a readable Arrow file.
    """
    tables = []
    for path in paths(folder, name):
        try:
            tables.append(pa.ipc.open_file(pa.memory_map(str(path))).read_all())
        except (pa.ArrowInvalid, OSError) as error:
            raise ShardError(f"{path}: not a readable Arrow file ({error})") from None
    return pa.concat_tables(tables)


def write_records(folder: Path, records: Iterable[Record]) -> int:
    """Write ``records`` as the shards ``records-*``; returns how many."""
    return write(folder, "records", (asdict(record) for record in records), RECORDS)


def read_records(folder: Path) -> Iterator[Record]:
    """The records of the shards ``records-*`` in ``folder``, in order, one at a time."""
    for batch in open_table(folder, "records").to_batches(max_chunksize=ROWS_PER_BATCH):
        yield from map(_record, batch.to_pylist())


def _record(row: dict[str, Any]) -> Record:
    return Record(
        **{
            **row,
            "captions": tuple(Caption(**{**item, "kind": item["kind"] or ""}) for item in row["captions"]),
            "labels": tuple(row["labels"] or ()),
            "questions": tuple(Question(**item) for item in row["questions"] or ()),
            "regions": tuple(Region(**item) for item in row["regions"] or ()),
        }
    )
