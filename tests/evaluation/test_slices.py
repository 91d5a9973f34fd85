"""Slices carry their sizes and lose no row."""

from __future__ import annotations

import numpy as np

from vlp.evaluation.slices import MOST, by_slice, rows_by_slice


def test_each_slice_has_its_value_and_its_size() -> None:
    right = np.array([1, 0, 1, 1])
    found = by_slice(["colour", "relation", "colour", ""], lambda rows: right[rows].mean())
    assert found == {
        "colour": {"value": 1.0, "size": 2},
        "relation": {"value": 0.0, "size": 1},
        "unnamed": {"value": 1.0, "size": 1},
    }
    assert list(found) == sorted(found)


def test_no_rows_have_no_slices() -> None:
    assert by_slice([], lambda rows: float(rows.sum())) == {}


def test_of_thousands_of_slices_the_small_ones_are_told_together() -> None:
    names = [f"{number % 1000:04d}" for number in range(1500)]  # the first 500 twice, the others once
    right = np.arange(1500) % 2 == 0
    found = by_slice(names, lambda rows: float(right[rows].mean()))
    assert len(found) == MOST + 1 and sum(int(part["size"]) for part in found.values()) == 1500
    assert found["0000"] == {"value": 1.0, "size": 2} and found["0199"]["size"] == 2
    assert found["800 more"]["size"] == 1500 - 2 * MOST
    assert found["800 more"]["value"] == right[[row for row, name in enumerate(names) if name > "0199"]].mean()


def test_the_rows_of_a_slice_rise() -> None:
    found = rows_by_slice(["b", "a", "b", "", "a"])
    assert {name: rows.tolist() for name, rows in found.items()} == {"a": [1, 4], "b": [0, 2], "unnamed": [3]}
