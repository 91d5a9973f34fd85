"""Rows of the files that ``datasets`` writes: Arrow streams of ``save_to_disk``, and Parquet.

Read by Arrow alone. ``datasets`` itself would copy the data into its cache, and one of its loaders unpickles.

Source: https://huggingface.co/docs/datasets/about_arrow; features stand as JSON in the schema's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlp.data.raw import cells
from vlp.data.raw.columns import SPLITS, Row, RowError
from vlp.data.raw.root import RemoteError, Root, RootError

ROWS_AT_ONCE = 64
MAX_STATE_BYTES = 16 * 2**20


class TableError(ValueError):
    """A file or a folder that is no table of ``datasets``; the rows before the damage have come."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a data set and the official split that it belongs to."""

    name: str
    split: str | None = None


@dataclass(slots=True)
class Features:
    """What the data set says of its columns."""

    columns: dict[str, None] = field(default_factory=dict)
    classes: dict[str, list[str]] = field(default_factory=dict)
    """The names of the classes of columns that hold numbers of classes; `a.b` is the key `b` inside the column `a`."""

    def add(self, schema: pa.Schema) -> None:
        """What ``schema`` says; of a column that several files have, the last one's word counts."""
        self.columns.update(dict.fromkeys(schema.names))
        try:
            said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
            features = said["info"]["features"] if said else {}
            for name, feature in features.items():
                self.classes.update(_class_names(name, feature))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise TableError("the features in the schema's metadata cannot be read") from None

    def named(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``row`` with the names of classes for their numbers; −1 is none.

        Args:
            row: cells by column, those of ``a.b`` by that name.

        Raises:
            RowError: a number that no class has.
        """
        return {name: self._names(name, value) if name in self.classes else value for name, value in row.items()}

    def _names(self, column: str, value: Any) -> Any:
        if isinstance(value, list):
            return [name for each in value if (name := self._names(column, each)) is not None]
        if value is None or value == -1:
            return None
        if type(value) is not int or not 0 <= value < len(self.classes[column]):
            raise RowError(f"column {column!r}: class {value!r} of {len(self.classes[column])}")
        return self.classes[column][value]


def _class_names(path: str, feature: Any) -> Iterator[tuple[str, list[str]]]:
    """Path and names of each class label in a feature: of one, of a list of them, of the keys of a structure."""
    if isinstance(feature, list):
        if feature:
            yield from _class_names(path, feature[0])
    elif not isinstance(feature.get("_type"), str):  # a structure: features by key
        for key, inner in feature.items():
            if isinstance(inner, (dict, list)):
                yield from _class_names(f"{path}.{key}", inner)
    elif feature["_type"] == "ClassLabel":
        if feature.get("names") is not None:
            yield path, [str(name) for name in feature["names"]]
    elif isinstance(feature.get("feature"), (dict, list)):
        yield from _class_names(path, feature["feature"])


def saved_files(root: Root, folder: str, splits: Mapping[str, str]) -> list[File]:
    """The files of a ``Dataset`` or a ``DatasetDict`` that ``save_to_disk`` wrote.

    Args:
        root: where the folder is.
        folder: its path.
        splits: what a split is whose name does not say it: an official split, ``any``, or ``none`` to leave it out.

    Raises:
        TableError: it is neither, or nothing says what a split is.
    """
    parts = _json(root, _join(folder, "dataset_dict.json"))
    if parts is None:
        return [File(name, None) for name in _data_files(root, folder)]
    found = []
    for part in _strings(parts.get("splits"), _join(folder, "dataset_dict.json")):
        kind = splits.get(part) or SPLITS.get(part.lower())
        if kind is None:
            which = "train, validation, test, any or none"
            raise TableError(f"{_join(folder, part)}: is the split {part!r} {which}? Say it in splits")
        if kind != "none":
            found += [File(name, None if kind == "any" else kind) for name in _data_files(root, _join(folder, part))]
    return found


def _data_files(root: Root, folder: str) -> list[str]:
    state = _json(root, where := _join(folder, "state.json"))
    if state is None:
        raise TableError(f"{folder or '.'}: neither dataset_dict.json nor state.json; did save_to_disk write it?")
    entries = state.get("_data_files")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise TableError(f"{where}: no list _data_files")
    if state.get("_indices_data_files"):
        raise TableError(f"{where}: saved with an index of rows; call flatten_indices() before save_to_disk()")
    return [_join(folder, name) for name in _strings([entry.get("filename") for entry in entries], where)]


def _strings(values: Any, where: str) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TableError(f"{where}: expected a list of names")
    return values


def _json(root: Root, name: str) -> dict[str, Any] | None:
    """The object in the file ``name``; None if there is no such file."""
    data, problem = root.read(name, MAX_STATE_BYTES)
    if problem:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TableError(f"{name}: not valid JSON ({error})") from None
    if not isinstance(found, dict):
        raise TableError(f"{name}: expected an object, found {type(found).__name__}")
    return found


def _join(folder: str, name: str) -> str:
    return str(PurePosixPath(folder) / name)


def rows(root: Root, name: str, wanted: list[str], features: Features) -> Iterator[Row]:
    """The rows of one file, in order, a few in memory at a time; one with a cell that cannot be held has a problem.

    Args:
        root: where the file is.
        name: ``….parquet``, else an Arrow stream.
        wanted: columns; the others are not looked at.
        features: learns what the file says of its columns.

    Raises:
        TableError: the file is missing, no table, or damaged; the rows before that have come.
    """
    number = 0
    try:
        with root.open(name) as file:
            for batch in (_parquet if name.endswith(".parquet") else _stream)(file, wanted, features):
                for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                    some = batch.slice(start, ROWS_AT_ONCE)
                    some.validate()
                    for column in some.columns:
                        cells.check(column)
                    yield from cells.rows(some, first=number + 1)
                    number += some.num_rows
    except RemoteError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError, RootError, TableError, MemoryError) as error:
        # A damaged length asks for more memory than there is.
        raise TableError(f"{name}: {error or 'damaged'}; {number} rows were read") from None


def _stream(file: Any, wanted: list[str], features: Features) -> Iterator[pa.RecordBatch]:
    with pa.ipc.open_stream(file) as stream:
        features.add(stream.schema)
        places = [place for place, name in enumerate(stream.schema.names) if name in wanted]
        yield from (batch.select(places) for batch in stream)


def _parquet(file: Any, wanted: list[str], features: Features) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file) as table:
        features.add(table.schema_arrow)
        columns = [name for name in table.schema_arrow.names if name in wanted]
        yield from table.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns)
