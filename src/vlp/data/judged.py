"""What validation leaves for preparation: measures and findings, in one folder.

``measures.arrow`` has one row a ``Measured``; ``findings.jsonl`` one ``Finding`` a line, in the records' order.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from vlp.data.shards import ROWS_PER_BATCH, ShardError
from vlp.files import write_jsonl
from vlp.records import Finding, Measured

MEASURES_FILE, FINDINGS_FILE = "measures.arrow", "findings.jsonl"

_text, _texts = pa.string(), pa.list_(pa.string())

MEASURES = pa.schema(
    [
        pa.field("id", _text, nullable=False),
        pa.field("group", _text, nullable=False),
        pa.field("split", _text),
        pa.field("readable", pa.bool_(), nullable=False),
        pa.field("problem", _text, nullable=False),
        pa.field("notes", _texts, nullable=False),
        pa.field("format", _text, nullable=False),
        pa.field("mode", _text, nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("file_bytes", pa.int64(), nullable=False),
        pa.field("sharpness", pa.float64(), nullable=False),
        pa.field("contrast", pa.float64(), nullable=False),
        pa.field("saturation", pa.float64(), nullable=False),
        pa.field("content_hash", _text, nullable=False),
        pa.field("pixel_hash", _text, nullable=False),
        pa.field("thumbnail", pa.binary(), nullable=False),
        pa.field("caption_problems", _texts, nullable=False),
        pa.field("caption_words", pa.list_(pa.int32()), nullable=False),
        pa.field("caption_hashes", _texts, nullable=False),
        pa.field("caption_scripts", _texts, nullable=False),
    ]
)
"""One row a ``Measured``, field by field."""

_TUPLES = [column.name for column in MEASURES if pa.types.is_list(column.type)]


def write_measures(folder: Path, measures: Iterable[Measured]) -> int:
    """Write ``measures.arrow`` into ``folder``, a batch in memory at a time; returns how many rows."""
    rows, count = (asdict(measured) for measured in measures), 0
    with pa.ipc.new_file(str(folder / MEASURES_FILE), MEASURES) as writer:
        while batch := list(itertools.islice(rows, ROWS_PER_BATCH)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=MEASURES))
            count += len(batch)
    return count


def read_measures(folder: Path) -> Iterator[Measured]:
    """The measures of ``folder``, in order, one at a time.

    Raises:
        ShardError: there is no ``measures.arrow``, or it is not one.
    """
    path = folder / MEASURES_FILE
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise ShardError(f"{path}: no readable measures ({error}); run the validate stage first") from None
    for batch in table.to_batches(max_chunksize=ROWS_PER_BATCH):
        for row in batch.to_pylist():
            yield Measured(**{**row, **{name: tuple(row[name]) for name in _TUPLES}})


def write_findings(folder: Path, findings: Iterable[Finding]) -> int:
    """Write ``findings.jsonl`` into ``folder``; returns how many lines."""
    return write_jsonl(folder / FINDINGS_FILE, map(asdict, findings))


def read_findings(folder: Path) -> Iterator[Finding]:
    """The findings of ``folder``, in order, one at a time.

    Raises:
        ShardError: there is no ``findings.jsonl``, or a line is not a finding.
    """
    path = folder / FINDINGS_FILE
    if not path.is_file():
        raise ShardError(f"{path}: no such file; run the validate stage first")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield Finding(**json.loads(line))
            except (json.JSONDecodeError, TypeError) as error:
                raise ShardError(f"{path}:{number}: not a finding ({error})") from None
