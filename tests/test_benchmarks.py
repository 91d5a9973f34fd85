"""Every benchmark is a script that can be started as its docstring says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import training_gpu
from benchmarks.training_ours import Side, longest_caption
from benchmarks.training_rivals import Taken, flops_of, open_clip_loop
from support import models, scenes
from vlp.data.loading import Prepared
from vlp.params import parse
from vlp.tasks.matching import Params, Task

PROJECT = Path(__file__).resolve().parent.parent
SCRIPTS = [path for path in sorted((PROJECT / "benchmarks").glob("*.py")) if "__main__" in path.read_text("utf-8")]


@pytest.mark.house
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_finds_the_benchmarks_beside_it(script: Path) -> None:
    code = script.read_text(encoding="utf-8")
    beside = [
        node.lineno for node in ast.parse(code).body if "from benchmarks" in (ast.get_source_segment(code, node) or "")
    ]
    path = [number for number, line in enumerate(code.splitlines(), start=1) if line.startswith("sys.path.insert(0, ")]
    assert not beside or (path and path[0] < min(beside)), "python benchmarks/… has only benchmarks/ on its path"
    assert f"python benchmarks/{script.name}" in (ast.get_docstring(ast.parse(code)) or "")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 12))


def side(prepared: Prepared, length: int) -> Side:
    values = {"captions_per_image": 1, "pair_weight": 1.0, "training": models.recipe(1).model_dump(mode="json")}
    task = Task(parse(Params, values, "test"), models.model(prepared), prepared)
    return Side(task, prepared, models.recipe(1), torch.device("cpu"), length)


def test_beside_a_rival_every_text_has_the_length_of_the_longest_and_costs_what_it_costs(prepared: Prepared) -> None:
    longest = longest_caption(prepared)
    plain, padded = (side(prepared, length) for length in (0, longest + 9))
    texts, wide = (next(iter(each.batches)).texts["statement"] for each in (plain, padded))
    assert wide.input_ids.shape[1] == longest + 9 > longest >= texts.input_ids.shape[1]
    assert torch.equal(wide.attention_mask.sum(1), texts.attention_mask.sum(1)), "what pads is not looked at"
    assert padded.flops() > plain.flops()


def test_open_clip_reads_as_many_tokens_as_it_is_built_for(prepared: Prepared) -> None:
    pytest.importorskip("open_clip")
    batch = side(prepared, 0).module.collate(prepared.split("train"), range(2), np.random.default_rng(0))
    length = batch.texts["statement"].input_ids.shape[1]
    batch.texts["statement"].input_ids = batch.texts["statement"].input_ids[:2]
    short, long = (
        flops_of(open_clip_loop([batch], 64, each, torch.device("cpu"), bf16=False, tiny=True)) for each in (length, 77)
    )
    assert 0 < short < long


def test_sides_that_are_compared_take_turns() -> None:
    told: list[str] = []

    def steps(name: str, seconds: float) -> Iterator[Taken]:
        while True:
            told.append(name)
            yield Taken(seconds, 8, 0.0)

    setting = training_gpu.Setting(
        device=torch.device("cpu"), tiny=True, folder=Path(), made=None, batch=8, workers=0, rounds=3, smoke_seconds=0.0
    )  # type: ignore[arg-type]
    rates = training_gpu._Rates(setting)
    rates.measure_in_turns({"ours": steps("ours", 0.5), "theirs": steps("theirs", 1.0)}, 8)
    assert told == ["ours", "theirs"] * 7, "four warm up"
    assert rates.pairs == {"ours": 16.0, "theirs": 8.0} and len(rates.samples["ours"]) == 3
