"""Rows of Arrow data as Python objects, where a cell that Python cannot hold costs its own row and no other.

Arrow's dates reach farther than Python's (a day of the year 200,000), its text is not checked as it is read from
Parquet, and a time zone may have any name. Whoever collected the data never noticed.

Source: https://arrow.apache.org/docs/format/Columnar.html, https://docs.python.org/3/library/datetime.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from vlp.data.raw.columns import Row

# What Arrow raises of a cell without a Python object: text (ValueError), dates (OverflowError), time zones (KeyError).
_CELL_FAULTS = (pa.ArrowException, ValueError, ArithmeticError, LookupError)


def rows(batch: pa.RecordBatch, first: int) -> Iterator[Row]:
    """The rows of ``batch``, numbered from ``first``; one with a cell that cannot be held has a ``problem``.

    Its other cells are there.
    """
    try:
        held = batch.to_pylist()
    except _CELL_FAULTS:
        held = None
    for place in range(batch.num_rows):
        yield Row(line=first + place, cells=held[place]) if held is not None else _row(batch, place, first + place)


def _row(batch: pa.RecordBatch, place: int, line: int) -> Row:
    cells: dict[str, Any] = {}
    problems = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            cells[name] = column[place].as_py()
        except _CELL_FAULTS as error:
            problems.append(f"column {name!r}: cannot be read as {column.type} ({error})")
    return Row(line=line, cells=cells, problem="; ".join(problems))


def check(column: pa.Array) -> None:
    """Hold the inside of a column that came from outside against its type: no offset may point nowhere.

    Text that is not UTF-8 passes. It is harmless until it is decoded, which ``rows`` does cell by cell.

    Raises:
        pyarrow.ArrowInvalid: the column is damaged.
    """
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        if pa.types.is_dictionary(column.type):
            check(column.dictionary)
            column = pa.DictionaryArray.from_arrays(column.indices, pa.nulls(len(column.dictionary)), safe=False)
        column.view(_bytes(column.type)).validate(full=True)


def _bytes(kind: pa.DataType) -> pa.DataType:
    """``kind`` with bytes for all text in it: the same memory, of which less is asked."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.list_(_inner(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(_inner(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_inner(kind.value_field), kind.list_size)
    if pa.types.is_struct(kind):
        return pa.struct([_inner(field) for field in kind])
    return kind


def _inner(field: pa.Field) -> pa.Field:
    return field.with_type(_bytes(field.type))
