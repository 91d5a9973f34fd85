"""What validation leaves for preparation: measures and findings, in one folder.

The shards ``measures-*`` have one row a ``Measured``; ``findings.jsonl`` one ``Finding`` a line, in the records' order.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from vlp.data import shards
from vlp.data.shards import ShardError
from vlp.files import write_jsonl
from vlp.records import Finding, Measured

MEASURES_NAME, FINDINGS_FILE = "measures", "findings.jsonl"

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
        pa.field("border", pa.float64(), nullable=False),
        pa.field("content_hash", _text, nullable=False),
        pa.field("pixel_hash", _text, nullable=False),
        pa.field("thumbnail", pa.binary(), nullable=False),
        pa.field("details", pa.binary(), nullable=False),
        pa.field("caption_problems", _texts, nullable=False),
        pa.field("caption_words", pa.list_(pa.int32()), nullable=False),
        pa.field("caption_hashes", _texts, nullable=False),
        pa.field("caption_scripts", _texts, nullable=False),
    ]
)
"""One row a ``Measured``, field by field."""

_TUPLES = [column.name for column in MEASURES if pa.types.is_list(column.type)]


class Measures(Collection[Measured]):
    """The measures that a folder holds: as many as ``len`` says, read anew, one at a time, whenever they are gone over.

    Raises:
        ShardError: there are none, or they cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._count = sum(shards.open_shard(path).num_rows for path in shards.paths(folder, MEASURES_NAME))
        except ShardError as error:
            raise ShardError(f"{error}; run the validate stage first") from None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Measured]:
        for row in shards.read(self._folder, MEASURES_NAME):
            yield Measured(**{**row, **{name: tuple(row[name]) for name in _TUPLES}})

    def __contains__(self, measured: object) -> bool:
        return any(each == measured for each in self)

    def column(self, name: str) -> pa.ChunkedArray:
        """One measure of all records, memory-mapped."""
        return shards.open_table(self._folder, MEASURES_NAME).column(name)


def write_measures(folder: Path, measures: Iterable[Measured]) -> int:
    """Write the shards ``measures-*`` into ``folder``, after those that are there; returns how many rows there are."""
    return shards.write(folder, MEASURES_NAME, (asdict(measured) for measured in measures), MEASURES)


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
