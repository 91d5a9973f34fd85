"""What a GPU trains is judged where the data is: each stage's way from the first step to the last figure, on a GPU.

python -m pytest -m gpu tests/training/test_gpu.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support import models, scenes
from vlp import params as parameters
from vlp.data.loading import Plans, Prepared, loader
from vlp.models.configuration import ModelParams
from vlp.models.modeling import VLPModel
from vlp.params import parse
from vlp.plugins import find
from vlp.training.determinism import seed_everything
from vlp.training.held_out import HeldOut
from vlp.training.loop import fit
from vlp.training.pretraining import Pretraining, PretrainParams, pretrain

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
VALUES = parameters.read(Path(__file__).resolve().parents[2] / "params.yaml")
TINY = {
    "image": models.IMAGE,
    "text": models.TEXT | {"layers": 2},
    "fusion": {**models.CROSS_ATTENTION, "counting_heads": 2},
}

FEW: dict[str, dict[str, Any]] = {  # what a task asks of more scenes than a test makes
    "classification": {"min_count": 2},
    "generation": {
        "book": {"sprites": 16, "grounds": 4, "things": 3, "size": 20, "pictures": 40, "rounds": 2},
        "width": 32, "candidates": 2, "prompts": 6, "calibration_prompts": 2,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 60))


@pytest.fixture
def model(prepared: Prepared) -> VLPModel:
    seed_everything(0)
    return VLPModel.from_params(
        parse(ModelParams, TINY, "test"),
        vocab_size=prepared.vocabulary_size, image_size=prepared.image_size, pad_token_id=prepared.pad_id,
    )  # fmt: skip


def training(**more: Any) -> dict[str, Any]:
    recipe: dict[str, Any] = models.recipe(3, precision="auto", save_every=0, log_every=1, **more).model_dump(
        mode="json"
    )
    return recipe


@pytest.mark.parametrize("compiled", [False, True], ids=["as it is", "compiled"])
def test_every_objective_trains_in_every_phase(prepared: Prepared, model: VLPModel, compiled: bool) -> None:
    values = {**VALUES["pretrain"]}
    values["objectives"] = {**values["objectives"], "tagging": {"weight": 5.0, "min_count": 2}}
    phases = {name: {**phase, "training": training(compile=compiled)} for name, phase in values["phases"].items()}
    section = parse(PretrainParams, {**values, "phases": phases}, "pretrain")
    module = Pretraining(model, section, prepared)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    curve, held_out, speed = pretrain(module, section, prepared, 0)
    assert len(speed) == len(section.phases) and len(curve) >= len(section.phases)
    assert np.isfinite(list(held_out.values())).all()
    assert {value.device.type for value in module.state_dict().values()} == {"cpu"}
    changed = [name for name, value in module.named_parameters() if not torch.equal(value, before[name])]
    assert len(changed) > 0.9 * len(list(module.parameters()))


@pytest.mark.parametrize("name", sorted(VALUES["tasks"]))
def test_a_task_is_trained_calibrated_and_evaluated(prepared: Prepared, model: VLPModel, name: str) -> None:
    plugin = find("vlp.tasks", name)
    section = parse(
        plugin.Params, {**VALUES["tasks"][name], **FEW.get(name, {}), "training": training()}, f"tasks.{name}"
    )
    task = plugin.Task(section, model, prepared)
    train, recipe = prepared.split("train"), section.training
    task.prepare(train, 0)
    batches = loader(train, task.collate, Plans(len(train), recipe.batch_size, recipe.steps, 0), seed=0)
    seen: list[int] = []
    held_out = HeldOut(task, prepared.split("validation"), recipe, 0)

    def watch(step: int) -> None:
        seen.append(step)
        assert np.isfinite(held_out.look()["loss"])

    fit(task, batches, recipe, watch=watch)
    assert torch.get_float32_matmul_precision() == "highest", "what is measured next is not rounded"
    assert seen == [1, 2, 3], "training goes on after a look"
    assert np.isfinite(held_out.look()["loss"])
    task.calibrate(prepared.split("validation"), 0)
    found = task.evaluate(prepared.split("test"), 0, 100)
    figures = [value for value in found.metrics.values() if isinstance(value, float)]
    assert figures and np.isfinite(figures).all()
