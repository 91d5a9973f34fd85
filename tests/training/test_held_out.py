"""Held-out data is looked at as training goes, and nothing about the training changes by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from support import models, scenes
from vlp.data.loading import Examples, Plans, Prepared, loader
from vlp.params import parse
from vlp.records import Batch
from vlp.tasks.retrieval import Params, Task
from vlp.training import held_out
from vlp.training.determinism import seed_everything
from vlp.training.held_out import WATCH, HeldOut, Watch
from vlp.training.loop import fit
from vlp.tuning import trial

STEPS = 10


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 60))


def task(prepared: Prepared) -> Task:
    """Retrieval, whose loss draws random numbers."""
    seed_everything(0)
    section = {
        "training": models.recipe(STEPS).model_dump(mode="json"),
        "captions_per_query": 2,
        "width": 8,
        "temperature": 0.07,
        "matching_weight": 1.0,
        "rerank": 2,
        "candidates": 4,
    }
    return Task(parse(Params, section, "tasks.retrieval"), models.model(prepared), prepared)


def trained(prepared: Prepared, path: Path | None) -> Task:
    made = task(prepared)
    recipe, train = made.params.training, prepared.split("train")
    watch = Watch(HeldOut(made, prepared.split("validation"), recipe, 0), path) if path else None
    fit(made, loader(train, made.collate, Plans(len(train), 8, STEPS, 0), seed=0), recipe, watch=watch)
    return made


def test_a_run_that_is_watched_ends_in_the_same_weights(prepared: Prepared, tmp_path: Path) -> None:
    alone, watched = trained(prepared, None), trained(prepared, tmp_path / "watch.jsonl")
    assert all(torch.equal(value, watched.state_dict()[name]) for name, value in alone.state_dict().items())
    lines = [json.loads(line) for line in (tmp_path / "watch.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10]
    for line in lines:
        losses = [value for name, value in line.items() if name.endswith("_loss")]
        assert len(losses) == 3 and line["loss"] == pytest.approx(sum(losses))


def test_two_looks_at_the_same_weights_see_the_same_and_leave_the_task_training(prepared: Prepared) -> None:
    made = task(prepared).train()
    watched = HeldOut(made, prepared.split("validation"), made.params.training, 0)
    before = torch.get_rng_state()
    assert watched.look() == watched.look()
    assert torch.equal(before, torch.get_rng_state())
    assert made.training


@pytest.fixture
def small_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "RECORDS", 30)
    monkeypatch.setattr(held_out, "BATCH_SIZE", 8)


def looked_at(made: Task, examples: Examples, batch_size: int) -> list[list[int]]:
    """The rows of each batch of a look."""
    seen: list[list[int]] = []
    collate = made.collate

    def noting(examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        seen.append(list(rows))
        return collate(examples, rows, rng)

    made.collate = noting  # type: ignore[method-assign]
    HeldOut(made, examples, models.recipe(STEPS).model_copy(update={"batch_size": batch_size}), 0)
    return seen


@pytest.mark.usefixtures("small_looks")
def test_each_batch_of_a_look_is_from_all_over_a_split_that_may_be_sorted(prepared: Prepared) -> None:
    train = prepared.split("train")
    batches = looked_at(task(prepared), train, batch_size=2)
    seen = [row for batch in batches for row in batch]
    assert len(seen) == len(set(seen)) == 30 < len(train)
    assert (min(seen), max(seen)) == (0, len(train) - 1)
    assert sorted(map(len, batches)) == [7, 7, 8, 8]
    for batch in batches:
        assert min(batch) < len(train) / 4 and max(batch) > len(train) * 3 / 4


@pytest.mark.usefixtures("small_looks")
def test_runs_of_other_batch_sizes_are_looked_at_alike(prepared: Prepared) -> None:
    train = prepared.split("train")
    assert looked_at(task(prepared), train, batch_size=2) == looked_at(task(prepared), train, batch_size=16)


def test_a_split_smaller_than_a_batch_is_one_batch(prepared: Prepared) -> None:
    validation = prepared.split("validation")
    assert looked_at(task(prepared), validation, batch_size=2) == [list(range(len(validation)))]


def test_a_search_watches_where_training_writes() -> None:
    assert trial.WATCH == WATCH
