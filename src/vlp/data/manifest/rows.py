"""Rows of a table that a user wrote by hand or by program: CSV, TSV, JSON lines or Parquet, one at a time.

A row that cannot be read is a ``Row`` with a ``problem``, so that it can be counted; a table that cannot
be read at all is a ``TableError``. Memory holds one row (of Parquet: one batch of rows).

Sources: RFC 4180 (CSV), https://jsonlines.org, https://parquet.apache.org.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import json
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vlp.data.raw import cells
from vlp.data.raw.columns import Row

DELIMITERS = {".csv": ",", ".tsv": "\t"}
EXTENSIONS = (*DELIMITERS, ".jsonl", ".parquet")

# A quoted field may run over lines, a forgotten quote over the whole file: past this many it is forgotten.
LINES_PER_FIELD = 200
BATCH_ROWS = 1024

# UTF-32 before UTF-16: the mark of the one begins with the mark of the other.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class TableError(ValueError):
    """A table is missing, of an unknown kind, not in its encoding, or without a usable header."""


def rows(
    path: Path,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    wanted: Collection[str] | None = None,
    quote: str | None = '"',
) -> Iterator[Row]:
    """The rows of ``path`` in order; blank lines are no rows.

    Args:
        path: its extension, in any case, is one of ``EXTENSIONS``.
        encoding: of a text file without a byte order mark; a mark says it better.
        delimiter: one character between the fields of CSV and TSV; None: what the extension says.
        wanted: columns of Parquet to read; the others cost nothing, whatever is in them. None: all.
        quote: one character around fields of CSV and TSV that hold delimiters or line breaks; None: there is none.

    Raises:
        TableError: no such file, an unknown extension, a header that is missing or names a column twice,
            bytes that are not in the encoding throughout, or a damaged Parquet file.
    """
    extension = path.suffix.lower()
    if extension not in EXTENSIONS:
        raise TableError(f"{path}: unknown kind of table {path.suffix!r}; valid extensions: {', '.join(EXTENSIONS)}")
    if not path.is_file():
        raise TableError(f"{path}: no such file")
    if extension == ".parquet":
        return _parquet(path, wanted)
    if extension == ".jsonl":
        return _json_lines(path, encoding)
    return _separated(path, encoding, delimiter or DELIMITERS[extension], quote)


@contextmanager
def _lines(path: Path, encoding: str) -> Iterator[Iterator[tuple[int, str]]]:
    """Numbered lines, ends kept. Bytes that are not in the encoding stay as lone surrogates: ``_undecodable``."""
    with path.open("rb") as file:
        head = file.read(4)
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if marked is None and b"\0" in head and not encoding.lower().startswith(("utf-16", "utf_16", "utf-32", "utf_32")):
        raise TableError(f"{path}: looks like UTF-16 without a byte order mark; set encoding: utf-16-le")
    try:
        with path.open(encoding=marked or encoding, errors="surrogateescape", newline="") as file:
            yield enumerate(file, start=1)
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not valid {error.encoding} ({error.reason}); save it as UTF-8") from None
    except UnicodeError as error:  # UTF-16 that does not say which
        raise TableError(f"{path}: {error}; set encoding: utf-16-le or utf-16-be") from None


def _undecodable(text: str) -> bool:
    return not text.isascii() and any("\udc80" <= letter <= "\udcff" for letter in text)


def _json_lines(path: Path, encoding: str) -> Iterator[Row]:
    with _lines(path, encoding) as lines:
        for number, line in lines:
            if not line.strip():
                continue
            if _undecodable(line):
                yield Row(line=number, problem=f"not valid {encoding}; set encoding")
                continue
            try:
                cells = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Row(line=number, problem=f"not valid JSON ({error})")
                continue
            if isinstance(cells, dict):
                yield Row(line=number, cells=cells)
            else:
                yield Row(line=number, problem=f"expected a JSON object, found {type(cells).__name__}")


def _separated(path: Path, encoding: str, delimiter: str, quote: str | None) -> Iterator[Row]:
    with _lines(path, encoding) as lines:
        records = _csv_records(lines, delimiter, quote)
        columns = _header(path, next(records, (1, [], "")), delimiter)
        for number, fields, problem in records:
            if not problem and len(fields) != len(columns):
                problem = f"{len(fields)} fields, the header names {len(columns)}"
            if not problem and _undecodable("".join(fields)):
                problem = f"not valid {encoding}; set encoding"
            if problem:
                yield Row(line=number, problem=problem)
            else:
                yield Row(line=number, cells=dict(zip(columns, fields, strict=True)))


def _header(path: Path, record: tuple[int, list[str], str], delimiter: str) -> list[str]:
    number, fields, problem = record
    columns = [name.strip() for name in fields]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if problem or not columns:
        raise TableError(f"{path}:{number}: no header line{f' ({problem})' if problem else ''}")
    if twice:
        raise TableError(f"{path}:{number}: the header names {', '.join(map(repr, twice))} more than once")
    if len(columns) == 1 and (other := next((mark for mark in ",;\t|" if mark in columns[0]), None)):
        raise TableError(
            f"{path}:{number}: one column {columns[0]!r}; the delimiter is {delimiter!r}, set delimiter: {other!r}"
        )
    return columns


def _csv_records(
    lines: Iterator[tuple[int, str]], delimiter: str, quote: str | None
) -> Iterator[tuple[int, list[str], str]]:
    """(line, fields, problem) a record; after a broken one reading goes on with the very next line.

    ``csv.reader`` over the whole file would let one forgotten quote swallow all that follows. The header's names tell
    whether the file has a blank after each delimiter.
    """
    spaced: bool | None = None
    ahead: deque[tuple[int, str]] = deque()  # lines looked at, not yet part of a record
    while (first := ahead.popleft() if ahead else next(lines, None)) is not None:
        number, text = first
        if not text.strip("\r\n"):
            continue
        if spaced is None:
            _, *others = text.split(delimiter)
            spaced = bool(others) and all(name.startswith(" ") for name in others)
        fields, problem = _fields(text, delimiter, quote, spaced=spaced)
        taken = 0
        while problem == _OPEN and taken < LINES_PER_FIELD:
            if taken == len(ahead):
                ahead.extend(itertools.islice(lines, 1))
            if taken == len(ahead):
                break
            text += ahead[taken][1]
            taken += 1
            fields, problem = _fields(text, delimiter, quote, spaced=spaced)
        if not problem:
            for _ in range(taken):
                ahead.popleft()
        yield number, fields, problem


_OPEN = "a quoted field is not closed"


def _fields(text: str, delimiter: str, quote: str | None, *, spaced: bool) -> tuple[list[str], str]:
    """The fields of one record, or what is wrong with it. ``spaced``: blanks after a delimiter are none of a field."""
    try:
        if quote is None:
            rows = csv.reader([text], delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True, skipinitialspace=spaced)
        else:
            rows = csv.reader([text], delimiter=delimiter, quotechar=quote, strict=True, skipinitialspace=spaced)
        (fields,) = rows
    except csv.Error as error:
        return [], _OPEN if "unexpected end of data" in str(error) else str(error)
    return fields, ""


def columns(path: Path) -> list[str]:
    """All columns of a Parquet file, read or not; none of a text file, whose rows name them.

    Raises:
        TableError: it is damaged.
    """
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return []
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path}: not a readable Parquet file ({error})") from None


def _parquet(path: Path, wanted: Collection[str] | None) -> Iterator[Row]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            named = [name for name in file.schema_arrow.names if wanted is None or name in wanted]
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=named):
                yield from cells.rows(batch, first=number + 1)
                number += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path}: not a readable Parquet file after row {number} ({error})") from None
