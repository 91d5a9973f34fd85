"""Memory-mapped Arrow shards: the only storage between stages.

One way of writing and opening for every schema: ``RECORDS`` here (as collected: image bytes), that of prepared
examples in ``examples``, that of measures in ``judged``. A shard is an Arrow IPC file, ``<name>-00000.arrow``;
nothing in it is executable, and opening one maps it into memory, so that a million rows cost no more memory
than one.

Source: Arrow columnar format, https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import pyarrow as pa

from vlp.records import Caption, Question, Record, Region

Row = TypeVar("Row")
ROWS_PER_SHARD = 4096
ROWS_PER_BATCH = 256
BYTES_PER_BATCH = 256 * 2**20
"""A batch ends here if its rows are large: one column of it may hold 2 GiB, the reach of Arrow's 32-bit offsets."""

_text = pa.string()

RECORDS = pa.schema(
    [
        pa.field("id", _text, nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("image_name", _text, nullable=False),
        pa.field("captions", pa.list_(pa.struct({"text": _text, "negative": _text, "kind": _text}))),
        pa.field("group", _text, nullable=False),
        pa.field("split", _text),
        pa.field("labels", pa.list_(_text)),
        pa.field(
            "questions", pa.list_(pa.struct({"text": _text, "answer": _text, "type": _text, "given": pa.list_(_text)}))
        ),
        pa.field("regions", pa.list_(pa.struct({"expression": _text, "mask": pa.binary()}))),
        pa.field("annotation", _text),
        pa.field("fault", _text),
    ]
)
"""One row a ``Record``, field by field."""


class ShardError(ValueError):
    """A folder of shards is missing, empty, of another schema, or not readable."""


class Files:
    """Batches into ``<name>-00000.arrow``, … in a folder: a shard has its name only once it is whole.

    A killed writer leaves the shards that it finished and one ``.partial`` file, which the next writer overwrites.

    Args:
        folder: where.
        name: what the shards are called.
        schema: of every shard.
        finished: called with each shard's number just before it gets its name.
    """

    def __init__(
        self, folder: Path, name: str, schema: pa.Schema, finished: Callable[[int], None] = lambda _: None
    ) -> None:
        self.folder, self.name, self.schema, self.finished = folder, name, schema, finished
        present = finished_shards(folder, name)
        self.shard, self.count = len(present), sum(present)
        """The shard that is written next, and how many rows there are, those of an earlier writer included."""
        self._file: Any = None
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch, which never reaches over the end of a shard."""
        if self._file is None:
            if self.count != self.shard * ROWS_PER_SHARD:
                raise ShardError(
                    f"{self.folder}: {self.name}-* are finished, and there are more rows; remove the folder"
                )
            self._file = pa.ipc.new_file(str(self._partial()), self.schema)
        self._file.write_batch(batch)
        self._rows += batch.num_rows
        self.count += batch.num_rows
        assert self._rows <= ROWS_PER_SHARD, "a batch ends where its shard ends"
        if self._rows == ROWS_PER_SHARD:
            self._finish()

    def _partial(self) -> Path:
        return self.folder / f"{self.name}-{self.shard:05d}.arrow.partial"

    def _finish(self) -> None:
        self._file.close()
        self.finished(self.shard)
        self._partial().replace(self.folder / f"{self.name}-{self.shard:05d}.arrow")
        self._file, self._rows, self.shard = None, 0, self.shard + 1

    def close(self, *, whole: bool) -> None:
        """End the last shard; one that is not ``whole`` keeps its ``.partial``. No rows leave one empty shard."""
        if whole and self._file is None and self.shard == 0:
            self._file = pa.ipc.new_file(str(self._partial()), self.schema)
        if self._file is not None and whole:
            self._finish()
        elif self._file is not None:
            self._file.close()


def finished_shards(folder: Path, name: str) -> list[int]:
    """Rows of each shard of ``name`` in ``folder``, in order; empty where none is finished."""
    return [open_shard(path).num_rows for path in sorted(folder.glob(f"{name}-*.arrow"))]


def remove(folder: Path, name: str) -> None:
    """Remove the shards of ``name``, the last ones first: those that a kill leaves are still the first ones."""
    for path in sorted(folder.glob(f"{name}-*.arrow"), reverse=True):
        path.unlink()


class Writer(Generic[Row]):
    """Writes rows as ``<name>-00000.arrow``, … in a folder; a context manager.

    The same rows give the same bytes, no rows give one empty shard. Memory holds ``ROWS_PER_BATCH`` rows, or fewer
    where they weigh more than ``BYTES_PER_BATCH``. Where there are finished shards already, the rows come after them.

    Args:
        folder: where.
        name: what the shards are called.
        schema: of every shard.
        pack: makes a batch of that schema of some rows.
        weigh: about how many bytes a row takes; None: all rows are small.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        schema: pa.Schema,
        pack: Callable[[list[Row]], pa.RecordBatch],
        weigh: Callable[[Row], int] | None = None,
    ) -> None:
        self.pack, self.weigh = pack, weigh
        self._files = Files(folder, name, schema)
        self._bytes = 0
        self._rows: list[Row] = []

    @property
    def count(self) -> int:
        """Rows so far."""
        return self._files.count + len(self._rows)

    def add(self, row: Row) -> None:
        """Append one row."""
        weight = self.weigh(row) if self.weigh else 0
        if self._bytes + weight > BYTES_PER_BATCH:
            self._flush()
        self._rows.append(row)
        self._bytes += weight
        if len(self._rows) == ROWS_PER_BATCH or self.count % ROWS_PER_SHARD == 0:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._files.write(self.pack(self._rows))
            self._rows, self._bytes = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, fault: object, *_: object) -> None:
        if fault is None:
            self._flush()
        self._files.close(whole=fault is None)


def write(
    folder: Path,
    name: str,
    rows: Iterable[dict[str, Any]],
    schema: pa.Schema,
    weigh: Callable[[dict[str, Any]], int] | None = None,
) -> int:
    """Write ``rows`` as the shards ``<name>-*`` in ``folder``; returns how many rows. ``weigh``: as of ``Writer``."""
    pack = partial(pa.RecordBatch.from_pylist, schema=schema)
    with Writer[dict[str, Any]](folder, name, schema, pack, weigh) as writer:
        for row in rows:
            writer.add(row)
    return writer.count


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
    return pa.concat_tables(map(open_shard, paths(folder, name)))


def open_shard(path: Path) -> pa.Table:
    """One shard, memory-mapped.

    Raises:
        ShardError: it is not a readable Arrow file.
    """
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise ShardError(f"{path}: not a readable Arrow file ({error})") from None


def read(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """The rows of the shards ``<name>-*`` in ``folder``, in order, as plain objects, a batch in memory at a time."""
    for path in paths(folder, name):  # one at a time: pages of a shard that is closed are no longer this process's
        for batch in open_shard(path).to_batches(max_chunksize=ROWS_PER_BATCH):
            yield from batch.to_pylist()


def write_records(folder: Path, records: Iterable[Record]) -> int:
    """Write ``records`` as the shards ``records-*``; returns how many."""
    return write(folder, "records", (asdict(record) for record in records), RECORDS, _weight)


def _weight(row: dict[str, Any]) -> int:
    """Bytes of a record's image and masks: what can be large."""
    return len(row["image"]) + sum(len(region["mask"]) for region in row["regions"])


def read_records(folder: Path, *, images: bool = True, start: int = 0) -> Iterator[Record]:
    """The records of the shards ``records-*`` in ``folder``, in order, one at a time.

    Args:
        folder: what the ingest stage wrote.
        images: False leaves ``image`` empty, without reading it: for passes over texts.
        start: records to pass over, unread.
    """
    for path in paths(folder, "records"):
        table = open_shard(path)
        passed = min(start, table.num_rows)
        start -= passed
        yield from records_of(table.slice(passed), images=images)


def records_of(table: pa.Table, *, images: bool = True) -> Iterator[Record]:
    """The records of rows of ``RECORDS``; ``images`` as of ``read_records``."""
    if not images:
        table = table.drop_columns(["image"])
    for batch in table.to_batches(max_chunksize=ROWS_PER_BATCH):
        yield from map(_record, batch.to_pylist())


def _record(row: dict[str, Any]) -> Record:
    return Record(
        **{
            "image": b"",
            **row,
            "captions": tuple(Caption(**{**item, "kind": item["kind"] or ""}) for item in row["captions"] or ()),
            "labels": tuple(row["labels"] or ()),
            "questions": tuple(
                Question(**{**item, "type": item["type"] or "", "given": tuple(item["given"] or ())})
                for item in row["questions"] or ()
            ),
            "regions": tuple(Region(**item) for item in row["regions"] or ()),
        }
    )
