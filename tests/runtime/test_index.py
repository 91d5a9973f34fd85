"""An index of a few vectors on the unit circle, searched, written and read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from vlp.runtime.index import Index, Item, SearchError, direction

DEGREES = {"east": 0, "north-east": 45, "north": 90, "west": 180}


def at(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


def compass() -> Index:
    items = [Item(name, (f"to the {name}",)) for name in DEGREES]
    return Index(items, np.stack([at(angle) for angle in DEGREES.values()]), "model")


def names(index: Index, query: np.ndarray, k: int, **more: list[str]) -> list[str]:
    return [hit.item.id for hit in index.search(query, k, **more)]


def test_the_nearest_come_first() -> None:
    index = compass()
    assert names(index, at(10), 2) == ["east", "north-east"]
    assert names(index, at(10), 9) == ["east", "north-east", "north", "west"]
    assert index.search(at(45), 1)[0].score == pytest.approx(1.0)
    assert names(index, at(10), 0) == []


def test_of_equally_near_ones_the_earlier_comes_first() -> None:
    index = Index([Item(name) for name in "dcba"], np.stack([at(30)] * 4), "model")
    assert names(index, at(0), 4) == ["d", "c", "b", "a"]


def test_of_many_equally_near_ones_the_earliest_are_found_at_the_cut_too() -> None:
    turned = [0 if number % 7 == 3 else 30 for number in range(1000)]
    index = Index([Item(str(number)) for number in range(1000)], np.stack([at(angle) for angle in turned]), "model")
    assert names(index, at(30), 3) == ["0", "1", "2"]
    assert names(index, at(30), 4, exclude=["1"]) == ["0", "2", "4", "5"]
    assert names(index, at(0), 145) == [str(number) for number in range(3, 1000, 7)] + ["0", "1"]


def test_what_is_excluded_is_no_answer() -> None:
    assert names(compass(), at(0), 4, exclude=["east", "nowhere"]) == ["north-east", "north", "west"]


def test_an_item_that_is_excluded_twice_costs_no_other_answer() -> None:
    assert names(compass(), at(0), 4, exclude=["east", "east", "east"]) == names(compass(), at(0), 4, exclude=["east"])


def test_a_history_is_the_direction_of_its_mean() -> None:
    index = compass()
    query = direction(index.vectors_of(["east", "north"]))
    np.testing.assert_allclose(query, at(45), atol=1e-6)
    assert names(index, query, 1, exclude=["east", "north"]) == ["north-east"]


def test_a_query_of_nothing_or_of_opposites_is_refused() -> None:
    with pytest.raises(SearchError, match="nothing to search for"):
        direction(np.empty((0, 2)))
    with pytest.raises(SearchError, match="cancel out"):
        direction(compass().vectors_of(["east", "west"]))


def test_an_index_comes_back_as_it_was(tmp_path: Path) -> None:
    made = compass()
    made.save(tmp_path / "index")
    again = Index.load(tmp_path / "index")
    assert again.items == made.items and again.model == "model"
    assert names(again, at(80), 4) == names(made, at(80), 4)
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == ["index.json", "vectors.npy"]


def test_an_empty_index_has_no_answers(tmp_path: Path) -> None:
    Index([], np.empty((0, 2), np.float32), "model").save(tmp_path / "index")
    assert Index.load(tmp_path / "index").search(at(0), 3) == []


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    index = compass()
    with pytest.raises(SearchError, match="no item 'south'"):
        index.vectors_of(["south"])
    with pytest.raises(SearchError, match="query of shape"):
        index.search(np.zeros(3), 1)
    with pytest.raises(SearchError, match="only 1 different ids"):
        Index([Item("a"), Item("a")], np.zeros((2, 2)), "model")
    with pytest.raises(SearchError, match=r"index\.json: cannot be read"):
        Index.load(tmp_path)
    index.save(tmp_path / "index")
    (tmp_path / "index" / "vectors.npy").write_bytes(b"not an array")
    with pytest.raises(SearchError, match=r"vectors\.npy: cannot be read"):
        Index.load(tmp_path / "index")
    (tmp_path / "index" / "index.json").write_text(json.dumps({"format": 9}))
    with pytest.raises(SearchError, match="not an index of format 1"):
        Index.load(tmp_path / "index")


def sent(index: Index, folder: Path) -> tuple[bytes, bytes]:
    index.save(folder)
    return (folder / "index.json").read_bytes(), (folder / "vectors.npy").read_bytes()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def headed(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(32)


def test_an_index_that_was_sent_is_the_index_that_was_saved(tmp_path: Path) -> None:
    again = Index.parse(*sent(compass(), tmp_path / "index"))
    assert again.items == compass().items
    assert names(again, at(10), 2) == ["east", "north-east"]


@pytest.mark.parametrize(
    ("vectors", "problem"),
    [
        (b"", "not an NPY file"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4'}", "not an NPY file"),
        (npy(np.zeros((4, 2), np.float64)), "expected rows of 32-bit floats, found float64"),
        (npy(np.zeros((4, 2), np.float32)), "length one"),
        (npy(np.full((4, 2), np.nan, np.float32)), "length one"),
        (npy(np.array([object()] * 4)), "expected rows of 32-bit floats, found object"),
        # A header that promises what is not there must not have the memory for it.
        (npy(np.zeros((4, 2), np.float32)).replace(b"(4, 2)", b"(4000000000000, 2)"), "NPY file|32-bit floats"),
        (headed(b"{'descr': ('<f4', 4) + 'a', 'shape': (4, 2)"), "not an NPY file"),
        (headed(b"{'descr': '<f4',\n 'shape': (4, 2"), "not an NPY file"),
        (headed(b"  {\n 'descr'\n  }\n }"), "not an NPY file"),
        (headed(b"(" * 9000), "not an NPY file"),
        (headed(b"{[]: 1, 'descr': '<f4', 'fortran_order': False, 'shape': (4, 2)}"), "not an NPY file"),
        (headed(b"{'descr': [1], 'fortran_order': False, 'shape': (4, 2)}"), "not an NPY file"),
        (headed(b"{'descr': '<f4', 'fortran_order': False, 'shape': 4}"), "not an NPY file"),
        (headed(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 1" + b"0" * 5000 + b")}"), "not an NPY file"),
    ],
    ids=[
        *("nothing", "half a header", "doubles", "zeros", "nan", "objects", "a promise", "a sum", "no end", "indented"),
        *("deep", "no key", "no type", "no shape", "many digits"),
    ],
)
def test_vectors_that_were_sent_are_not_believed(tmp_path: Path, vectors: bytes, problem: str) -> None:
    items, _ = sent(compass(), tmp_path / "index")
    with pytest.raises(SearchError, match=problem):
        Index.parse(items, vectors)


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        (b"[" * 100_000, "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "not an index of format 1"),
        (b'{"format": 1}', "not the items of an index"),
        (b'{"format": 1, "model": "m", "items": [{"id": "a", "texts": "word"}]}', "expected a list of texts"),
        (b'{"format": 1, "model": "m", "items": []}', "0 items, but vectors of shape"),
        (b'{"format": 1, "model": "m", "items": [{"id": "\\ud800", "texts": []}]}', "surrogates not allowed"),
    ],
    ids=["deep", "no text", "a list", "no items", "one text", "too few", "half a pair"],
)
def test_items_that_were_sent_are_not_believed(tmp_path: Path, items: bytes, problem: str) -> None:
    _, vectors = sent(compass(), tmp_path / "index")
    with pytest.raises(SearchError, match=problem):
        Index.parse(items, vectors)
