from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from vlp.data.raw.cells import check, rows

NO_TEXT = pa.array([b"fine", b"\xff\xfe", b"good"]).view(pa.string())
LISTS = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), NO_TEXT)


def batch(**columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(["a", "b", "c"]), *columns.values()], ["image", *columns])


def test_rows_are_numbered_and_hold_what_python_can_hold() -> None:
    found = list(rows(batch(number=pa.array([1, None, 3])), first=5))
    assert [(row.line, row.cells, row.problem) for row in found] == [
        (5, {"image": "a", "number": 1}, ""),
        (6, {"image": "b", "number": None}, ""),
        (7, {"image": "c", "number": 3}, ""),
    ]


@pytest.mark.parametrize(
    "column",
    [
        NO_TEXT,
        LISTS,
        pa.StructArray.from_arrays([NO_TEXT, LISTS], names=["one", "many"]),
        NO_TEXT.dictionary_encode(),
        pa.array([1, 2**31 - 1, 3], pa.int32()).view(pa.date32()),
        pa.array([1, 2**62, 3]).view(pa.timestamp("us")),
        pa.array([1, -(2**62), 3]).view(pa.duration("s")),
        pa.array([None, 1, None]).view(pa.timestamp("us", tz="Nowhere/City")),
    ],
    ids=lambda column: str(column.type),
)
def test_a_cell_that_python_cannot_hold_costs_its_own_row(column: pa.Array) -> None:
    check(column)
    first, bad, last = rows(batch(odd=column), first=1)
    assert (first.problem, last.problem) == ("", "")
    assert first.cells.keys() == {"image", "odd"}
    assert bad.problem.startswith(f"column 'odd': cannot be read as {column.type} (")
    assert bad.cells == {"image": "b"}


def damaged(offsets: list[int], kind: Any) -> pa.Array:
    buffers = [None, pa.array(offsets, pa.int32()).buffers()[1], pa.py_buffer(b"\xffbytes")]
    return pa.Array.from_buffers(kind, len(offsets) - 1, buffers)


@pytest.mark.parametrize("offsets", [[0, 3, 999_999], [0, 5, 2], [-7, 0, 2]])
def test_an_offset_that_points_nowhere_is_not_taken_for_odd_text(offsets: list[int]) -> None:
    with pytest.raises(pa.ArrowInvalid):
        check(damaged(offsets, pa.string()))


def test_an_index_that_points_nowhere_is_not_taken_for_odd_text() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, 7]), NO_TEXT, safe=False)
    with pytest.raises(pa.ArrowInvalid):
        check(column)
