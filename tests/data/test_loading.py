"""Batches are planned, seeded and memory-mapped: the same for any number of workers, and after a resume."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from support import scenes
from vlp.data.loading import Examples, Plans, Prepared, draw, in_order, loader, pad
from vlp.data.shards import ShardError
from vlp.records import Batch


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 40))


def collate(examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
    """Each image with one of its captions, drawn."""
    chosen = [examples.ids("captions", "ids", row)[rng.integers(4)] for row in rows]
    texts = pad([ids for ids in chosen if ids is not None], range(len(rows)), pad_id=0)
    return Batch(images=examples.images(rows), texts={"one": texts}, targets={})


def test_every_epoch_takes_each_row_once_and_no_batch_is_short() -> None:
    plans = list(Plans(rows=10, batch_size=4, steps=5, seed=1))
    drawn = [row for plan in plans for row in plan.rows]
    assert [len(plan.rows) for plan in plans] == [4] * 5
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]


def test_a_resumed_run_plans_what_the_whole_run_would_have() -> None:
    assert list(Plans(10, 4, 7, 1).share(first=3)) == list(Plans(10, 4, 7, 1))[3:]


def test_processes_share_each_batch_without_overlap() -> None:
    whole = list(Plans(10, 4, 5, 1))
    parts = [list(Plans(10, 4, 5, 1).share(rank=rank, world=2)) for rank in range(2)]
    for plan, one, two in zip(whole, *parts, strict=True):
        assert sorted(one.rows + two.rows) == sorted(plan.rows)


def test_processes_and_passes_cover_each_record_once_an_epoch() -> None:
    seen = [
        row for rank in range(2) for plan in Plans(24, 8, 3, 5).share(rank=rank, world=2, passes=2) for row in plan.rows
    ]
    assert sorted(seen) == list(range(24))
    two = [plan.seed(5) for rank in range(2) for plan in Plans(24, 8, 1, 5).share(rank=rank, world=2)]
    one = [plan.seed(5) for plan in Plans(24, 8, 1, 5).share(passes=2)]
    assert two == one and len(set(two)) == 2  # what is drawn hangs on the part, not on who takes it


def test_a_batch_larger_than_the_data_repeats_it_rather_than_being_short() -> None:
    (plan,) = Plans(rows=3, batch_size=7, steps=1, seed=0)
    assert sorted(plan.rows) == [0, 0, 0, 1, 1, 2, 2] or sorted(set(plan.rows)) == [0, 1, 2]
    assert len(plan.rows) == 7


def test_a_batch_that_does_not_divide_among_processes_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 5 does not divide among 2"):
        Plans(10, 5, 1, 0).share(world=2)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Plans(0, 5, 1, 0)


def test_evaluation_passes_over_all_rows_once_in_order() -> None:
    assert [plan.rows for plan in in_order(5, 2)] == [(0, 1), (2, 3), (4,)]


def test_images_and_ids_are_those_of_the_shards(prepared: Prepared) -> None:
    train = prepared.split("train")
    assert len(train) == 28
    images = train.images([5, 0])
    assert images.dtype == torch.uint8 and images.shape == (2, 64, 64, 3)
    for place, row in enumerate((5, 0)):
        stored = np.frombuffer(train.table["image"][row].as_py(), np.uint8).reshape(64, 64, 3)
        assert np.array_equal(images[place].numpy(), stored)
        entries = train.values("captions", row)
        assert [ids.tolist() for ids in train.ids("captions", "ids", row) if ids is not None] == [
            entry["ids"] for entry in entries
        ]


def test_a_missing_negative_is_none(tmp_path: Path) -> None:
    train = Prepared(scenes.prepare(tmp_path, 10, negatives=False)).split("train")
    assert train.ids("captions", "negative_ids", 0) == [None] * 4


def test_workers_change_nothing(prepared: Prepared) -> None:
    train = prepared.split("train")
    batches = [
        list(loader(train, collate, Plans(len(train), 6, 5, seed=2), seed=2, workers=workers)) for workers in (0, 2)
    ]
    for one, two in zip(*batches, strict=True):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.texts["one"].input_ids, two.texts["one"].input_ids)


def test_examples_travel_to_a_worker_by_name_not_by_value(prepared: Prepared) -> None:
    sent = pickle.dumps(prepared.split("train"))
    assert len(sent) < 1000
    assert len(pickle.loads(sent)) == 28


def test_a_folder_without_a_summary_says_which_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"summary\.json; run the preprocess stage"):
        Prepared(tmp_path)


def test_padding_marks_tokens_and_tells_regular_from_irregular() -> None:
    texts = pad([np.array([5, 6]), np.array([7]), np.array([8]), np.array([9, 9])], [0, 0, 1, 1], pad_id=0)
    assert texts.input_ids.tolist() == [[5, 6], [7, 0], [8, 0], [9, 9]]
    assert texts.attention_mask.tolist() == [[1, 1], [1, 0], [1, 0], [1, 1]]
    assert texts.per_image == 2
    assert pad([np.array([5])] * 3, [0, 1, 1], pad_id=0).per_image == 0


def test_captions_come_twice_only_after_all_have_come_once() -> None:
    rng = np.random.default_rng(0)
    assert sorted(draw(3, 7, rng)) in ([0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2, 2])
    assert sorted(draw(5, 5, rng)) == list(range(5))
    assert draw(0, 3, rng) == []
