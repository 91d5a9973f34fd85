from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from vlp.stages import evaluate
from support import models, scenes
from vlp.data.loading import Prepared
from vlp.params import parse
from vlp.tasks.vqa import Params, Task
from vlp.training.determinism import seed_everything


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Vqa, hardly trained, and a test split of one group."""
    monkeypatch.chdir(tmp_path)
    own = {"resamples": 100, "cross_validation": {"folds": 5}}
    Path("params.yaml").write_text(json.dumps({"seed": 7, "evaluate": own}), encoding="utf-8")  # JSON is YAML
    evaluate.PREPARED.mkdir(parents=True)
    prepared = Prepared(scenes.prepare(evaluate.PREPARED, 7))
    assert len(set(prepared.split("test").strings("group"))) == 1
    seed_everything(0)
    section = {"questions_per_image": 4, "answers": 30, "training": models.recipe(1).model_dump()}
    task = Task(parse(Params, section, "test"), models.model(prepared), prepared)
    task.calibrate(prepared.split("train"), seed=0)
    (evaluate.TASKS / "vqa").mkdir(parents=True)
    task.save(evaluate.TASKS / "vqa")
    monkeypatch.setattr(sys, "argv", ["evaluate", "vqa"])
    return tmp_path


def test_a_test_split_of_one_group_costs_cross_validation_and_no_other_figure(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate.main()
    found = json.loads(Path("metrics/vqa.json").read_text(encoding="utf-8"))
    assert "accuracy" in found and "cross_validation" not in found
    assert "found 1" in caplog.text and "evaluate.cross_validation.folds: 0" in caplog.text
