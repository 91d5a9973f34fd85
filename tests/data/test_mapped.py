from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.data import mapped

KINDS: dict[str, mapped.Kind] = {"id": "text", "split": "few", "width": np.int32, "kept": np.bool_}


@pytest.mark.parametrize("count", [0, 1, 40_000])
def test_columns_hold_what_the_rows_said(count: int) -> None:
    rows = [(f"r{n}", [None, "train", "test"][n % 3], n, n % 2 == 0) for n in range(count)]
    table = pd.DataFrame(mapped.columns(iter(rows), KINDS), copy=False)
    assert list(table.columns) == list(KINDS)
    assert table["id"].tolist() == [row[0] for row in rows]
    assert [None if pd.isna(each) else each for each in table["split"]] == [row[1] for row in rows]
    assert (table["width"].tolist(), table["kept"].tolist()) == ([row[2] for row in rows], [row[3] for row in rows])


def test_numbers_are_mapped_and_not_copied_into_the_frame() -> None:
    made = mapped.columns([(n,) for n in range(1000)], {"width": np.int32})
    assert isinstance(made["width"].base, np.memmap)
    table = pd.DataFrame(made, copy=False)
    assert np.shares_memory(table["width"].to_numpy(), made["width"])


def test_numbers_that_came_a_few_at_a_time_stay_when_their_file_is_let_go_of() -> None:
    growing = mapped.Growing(np.int64)
    assert growing.whole().tolist() == []
    for number in range(5000):
        growing.add(np.int64(number).tobytes())
    found = growing.whole()
    growing.close()
    assert (growing.size, found.tolist()) == (5000, list(range(5000)))


NUMBERS = st.lists(st.integers(0, 20), max_size=60)


@given(NUMBERS)
def test_values_that_come_again_are_found(values: list[int]) -> None:
    given_values = np.array(values, np.uint64)
    assert mapped.several(given_values).tolist() == sorted({each for each in values if values.count(each) > 1})
    assert given_values.tolist() == values, "sorted elsewhere"


@given(NUMBERS, st.sets(st.integers(0, 20)))
def test_values_are_told_from_others(values: list[int], some: set[int]) -> None:
    found = mapped.among(np.array(values, np.uint64), np.array(sorted(some), np.uint64))
    assert found.tolist() == [each in some for each in values]
