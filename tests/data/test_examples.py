from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from vlp.data import examples, shards
from vlp.data.examples import EXAMPLES, pack, texts, unpack_mask
from vlp.records import Caption, Example, Question

Row = tuple[Example, Mapping[str, list[int]]]


def example(number: int, side: int = 5) -> Row:
    rng = np.random.default_rng(number)
    found = Example(
        id=f"r{number}",
        group=f"g{number}",
        image=rng.integers(0, 256, (side, side, 3), dtype=np.uint8),
        captions=(Caption(text=f"a{number}", negative=f"b{number}", kind="count"), Caption(text="c")),
        labels=("x",),
        questions=(Question(text="q?", answer="yes", type="exists", given=("yes", "no")),),
        regions=((f"e{number}", rng.integers(0, 2, (side, side)).astype(bool)),),
        annotation="{}" if number % 2 else None,
    )
    return found, {text: [2, *range(10, 10 + len(text)), 3] for text in texts(found)}


def bare(number: int) -> Row:
    found = Example(
        id=f"r{number}",
        group="g",
        image=np.zeros((5, 5, 3), np.uint8),
        captions=(),
        labels=(),
        questions=(),
        regions=(),
        annotation=None,
    )
    return found, {}


def same(one: Example, two: Example) -> bool:
    masks = [(name, mask.tolist()) for name, mask in one.regions] == [
        (name, mask.tolist()) for name, mask in two.regions
    ]
    plain = ("id", "group", "captions", "labels", "questions", "annotation")
    return masks and np.array_equal(one.image, two.image) and all(getattr(one, f) == getattr(two, f) for f in plain)


@pytest.mark.parametrize("rows", [[example(0), bare(1), example(2)], [bare(0)], [example(0)] * 3, []])
def test_examples_come_back_as_they_were(tmp_path: Path, rows: list[Row]) -> None:
    assert examples.write(tmp_path, "train", rows) == len(rows)
    found = list(examples.read(tmp_path, "train"))
    assert len(found) == len(rows)
    assert all(same(one, two) for one, (two, _) in zip(found, rows, strict=True))


def test_every_text_stands_beside_its_token_ids(tmp_path: Path) -> None:
    found, ids = example(7)
    examples.write(tmp_path, "train", [(found, ids), bare(8)])
    row, empty = shards.read(tmp_path, "train")
    assert row["captions"][0] == {
        "text": "a7",
        "ids": ids["a7"],
        "negative": "b7",
        "negative_ids": ids["b7"],
        "kind": "count",
    }
    assert row["captions"][1]["negative_ids"] is None
    assert row["questions"] == [
        {"text": "q?", "ids": ids["q?"], "answer": "yes", "type": "exists", "given": ["yes", "no"]}
    ]
    assert row["regions"][0]["ids"] == ids["e7"]
    assert empty["captions"] == empty["questions"] == empty["regions"] == empty["labels"] == []


def test_a_batch_is_of_the_schema_and_sound() -> None:
    batch = pack([example(0), bare(1), example(2)])
    assert batch.schema == EXAMPLES
    batch.validate(full=True)


def test_the_texts_of_an_example_are_all_that_becomes_tokens() -> None:
    assert list(texts(example(1)[0])) == ["a1", "b1", "c", "q?", "e1"]


@pytest.mark.parametrize("side", [1, 5, 8])
def test_a_mask_of_any_side_unpacks(side: int) -> None:
    mask = np.random.default_rng(side).integers(0, 2, (side, side)).astype(bool)
    assert np.array_equal(unpack_mask(np.packbits(mask).tobytes(), side), mask)
