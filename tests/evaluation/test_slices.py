"""Slices carry their sizes and lose no row."""

from __future__ import annotations

import numpy as np

from vlp.evaluation.slices import by_slice


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
