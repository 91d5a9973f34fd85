"""What is searched is said in tuning.yaml, and what cannot be is one line."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from support.graph import load_yaml
from vlp.params import ParamsError
from vlp.tuning.search import TuneError, _checked, run
from vlp.tuning.settings import SETTINGS_FILE, load

PROJECT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("task", sorted(load_yaml(PROJECT / SETTINGS_FILE)))
def test_the_projects_own_searches_name_parameters_that_there_are(task: str) -> None:
    assert _checked(PROJECT, task).trials > 0


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        ("{low: 1}", "give low and high, or choices"),
        ("{low: 1, high: 2, choices: [1]}", "give low and high, or choices"),
        ("{low: 2, high: 1}", "low 2 is not below high 1"),
        ("{low: 0, high: 1, log: true}", "log wants a low above 0"),
        ("{low: 1, hihg: 2}", "hihg: unknown key"),
    ],
)
def test_a_dimension_that_cannot_be_is_refused(tmp_path: Path, dimension: str, message: str) -> None:
    (tmp_path / "tuning.yaml").write_text(f"matching:\n  space:\n    seed: {dimension}\n")
    with pytest.raises(ParamsError, match=message):
        load("matching", tmp_path / "tuning.yaml")


def test_a_metric_that_is_no_loss_says_which_way_is_better(tmp_path: Path) -> None:
    settings = tmp_path / "tuning.yaml"
    space = "space: {seed: {low: 1, high: 2}}"
    settings.write_text(f"vqa: {{metric: accuracy, {space}}}\n")
    with pytest.raises(ParamsError, match="accuracy is no loss: say direction, maximize or minimize"):
        load("vqa", settings)
    settings.write_text(f"vqa: {{metric: accuracy, direction: minimize, {space}}}\n")  # as somebody may want it
    assert load("vqa", settings).direction == "minimize"
    for metric in ("loss", "vqa_loss"):
        settings.write_text(f"vqa: {{metric: {metric}, {space}}}\n")
        assert load("vqa", settings).direction == "minimize"


@pytest.mark.parametrize("count", [0, -3])
def test_no_trial_at_all_is_no_search(tmp_path: Path, count: int) -> None:
    (tmp_path / "params.yaml").write_text("tasks: {vqa: {seed: 1}}\n")
    (tmp_path / SETTINGS_FILE).write_text("vqa: {space: {tasks.vqa.seed: {low: 1, high: 2}}}\n")
    with pytest.raises(TuneError, match=f"--trials: {count}: expected 1 or more"):
        run(tmp_path, "vqa", count)


@pytest.mark.parametrize("name", ["tasks.matching.pair_weight", "tasks.x.ranking.weight"])
def test_a_loss_is_not_searched_by_its_own_weights(tmp_path: Path, name: str) -> None:
    space = f"{{tasks.matching.training.weight_decay: {{low: 0.0, high: 0.1}}, {name}: {{low: 0.5, high: 4.0}}}}"
    settings = tmp_path / "tuning.yaml"
    settings.write_text(f"matching: {{space: {space}}}\n")
    with pytest.raises(ParamsError, match=rf"loss is a sum that {name} weighs, .* name another figure of validation"):
        load("matching", settings)
    settings.write_text(f"matching: {{metric: pair_accuracy, direction: maximize, space: {space}}}\n")
    assert len(load("matching", settings).space) == 2


def test_values_come_from_where_they_are_said_to(tmp_path: Path) -> None:
    text = "a: {space: {x: {low: 1.0, high: 2.0}, n: {low: 1, high: 3}, c: {choices: [true, null]}}}\n"
    (tmp_path / "tuning.yaml").write_text(text)
    space = load("a", tmp_path / "tuning.yaml").space
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        found = {name: dimension.ask(trial, name) for name, dimension in space.items()}
        assert 1 <= found["x"] <= 2 and found["n"] in (1, 2, 3) and found["c"] in (True, None)


@pytest.mark.house
@pytest.mark.parametrize("task", sorted(load_yaml(PROJECT / SETTINGS_FILE)))
def test_what_a_search_looks_at_is_a_figure_that_training_leaves_behind(task: str) -> None:
    committed = json.loads((PROJECT / "metrics" / "finetune" / f"{task}.json").read_text(encoding="utf-8"))
    assert load_yaml(PROJECT / SETTINGS_FILE)[task].get("metric", "loss") in committed["validation"]
