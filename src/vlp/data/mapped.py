"""Columns of a table that lie in files without a name, mapped into memory.

What is mapped the system can take back whenever memory is short, so that a table of a million rows costs no more of it
than one of a thousand (unless the folder of temporary files lies in memory: ``TMPDIR`` names another). The files are
gone with the last that looks at them.
"""

from __future__ import annotations

import itertools
import mmap
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa

Kind = Literal["text", "few"] | type[np.generic]
"""What a column holds: texts; one of few texts, or None; or numbers."""

_ROWS_AT_ONCE = 1 << 14
_TEXT = pa.schema([("text", pa.large_string())])


def columns(rows: Iterable[Sequence[Any]], kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """What a data frame can be made of without a copy: an array of numbers, a categorical or a series of each column.

    Args:
        rows: values in the order of ``kinds``; a few of them are in memory at a time.
        kinds: of the columns, by name.
    """
    rows, made = iter(rows), {name: _Column(kind) for name, kind in kinds.items()}
    while some := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        for column, values in zip(made.values(), zip(*some, strict=True), strict=True):
            column.add(values)
    return {name: column.whole() for name, column in made.items()}


def sorted_copy(values: np.ndarray) -> np.ndarray:
    """``values`` in order, in a file of their own, in which they are sorted."""
    with tempfile.TemporaryFile() as file:
        values.tofile(file)
        copy = numbers(file, values.dtype.type)
    copy.sort()
    return copy


def several(values: np.ndarray) -> np.ndarray:
    """Those values that are there more than once, each once, in order."""
    ordered = sorted_copy(values)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def among(values: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Bool [N]: which of ``values`` are among ``some``, which are in order and few."""
    found = np.zeros(len(values), bool)
    for start in range(0, len(values) if len(some) else 0, _ROWS_AT_ONCE):
        part = values[start : start + _ROWS_AT_ONCE]
        places = np.minimum(np.searchsorted(some, part), len(some) - 1)
        found[start : start + len(part)] = some[places] == part
    return found


class Growing:
    """Numbers that come a few at a time, and are looked at when all are there.

    Args:
        kind: of the numbers.
    """

    def __init__(self, kind: np.dtype[Any] | type[np.generic]) -> None:
        self.kind = np.dtype(kind)
        self.size = 0
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the object

    def add(self, some: bytes) -> None:
        """Append numbers, as the bytes that they are."""
        self._file.write(some)
        self.size += len(some) // self.kind.itemsize

    def whole(self) -> np.ndarray:
        """All of them, mapped."""
        return numbers(self._file, self.kind)

    def close(self) -> None:
        """Let go of the file; what was mapped stays."""
        self._file.close()


def numbers(file: IO[bytes], kind: np.dtype[Any] | type[np.generic]) -> np.ndarray:
    """All of ``file`` as numbers, mapped; it may be closed."""
    file.flush()
    if not os.fstat(file.fileno()).st_size:  # nothing can be mapped
        return np.empty(0, kind)
    return np.asarray(np.memmap(file, kind, "r+"))


class _Column:
    """One column, written as its values come."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the column is whole
        self._codes: dict[str, int] = {}
        self._texts = pa.ipc.new_stream(self._file, _TEXT) if kind == "text" else None

    def add(self, values: Sequence[Any]) -> None:
        if self._texts is not None:
            self._texts.write_batch(pa.record_batch([pa.array(values, pa.large_string())], schema=_TEXT))
        elif self.kind == "few":
            codes = [-1 if each is None else self._codes.setdefault(each, len(self._codes)) for each in values]
            np.array(codes, np.int32).tofile(self._file)
        else:
            np.array(values, self.kind).tofile(self._file)

    def whole(self) -> Any:
        """The column; nothing can be added any more."""
        import pandas as pd

        with self._file as file:
            if self._texts is not None:
                self._texts.close()
                file.flush()
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                return pa.ipc.open_stream(pa.py_buffer(content)).read_all()["text"].to_pandas()
            if self.kind == "few":
                codes: np.ndarray[Any, np.dtype[np.int32]] = numbers(file, np.int32)
                return pd.Categorical.from_codes(codes, pd.Index(list(self._codes)))
            assert isinstance(self.kind, type)
            return numbers(file, self.kind)
