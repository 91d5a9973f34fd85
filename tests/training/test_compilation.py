"""What ``compile: true`` compiles, and that nothing stays compiled.

That compiled steps of a model of full size train is test_gpu.py's: it takes a compiler minutes on two cores.
"""

from __future__ import annotations

import pytest
from torch import nn

from support import models, scenes
from vlp.data.loading import Plans, Prepared, loader
from vlp.models.modeling import VLPModel
from vlp.params import parse
from vlp.tasks.matching import Params, Task
from vlp.training.compilation import compiled
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit
from vlp.training.memory import blocks, recomputing


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 12))


@pytest.fixture(scope="module")
def model(prepared: Prepared) -> VLPModel:
    return models.model(prepared)


def compiled_parts(module: nn.Module) -> list[str]:
    return [name for name, part in module.named_modules() if part._compiled_call_impl is not None]


def test_the_image_encoder_is_compiled_whole_and_every_other_block_once(model: VLPModel) -> None:
    with compiled(model, wanted=True):
        parts = compiled_parts(model)
    layers = len(model.text_encoder.bert.encoder.layer)
    assert parts == [
        "image_encoder",
        *(f"text_encoder.bert.encoder.layer.{number}" for number in range(layers)),
        *(f"fusion.blocks.{number}" for number in range(len(model.fusion.blocks))),
    ]
    assert not compiled_parts(model), "whoever evaluates has other shapes"


def test_nothing_is_compiled_unless_wanted(model: VLPModel) -> None:
    with compiled(model, wanted=False):
        assert not compiled_parts(model)


def test_what_runs_again_runs_around_what_is_compiled(model: VLPModel) -> None:
    text = model.text_encoder.bert.encoder.layer[0]
    with compiled(model, wanted=True, recompute=True):
        own = text._compiled_call_impl
        with recomputing(model, wanted=True):
            assert "image_encoder" not in compiled_parts(model), "whole, it would have no blocks to run again"
            assert "forward" not in vars(text) and text._compiled_call_impl.args == (own,)
            assert any("forward" in vars(block) for block in blocks(model.image_encoder))
        assert text._compiled_call_impl is own
    assert not compiled_parts(model) and not any("forward" in vars(part) for part in model.modules())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's compiler warns of what it does itself
def test_compiled_blocks_that_run_again_learn_what_plain_ones_do(prepared: Prepared) -> None:
    curves, counted = [], []
    for more in ({}, {"compile": True, "recompute": True}):
        recipe = models.recipe(3, log_every=1, warmup_share=0.0, **more)
        seed_everything(0)
        values = {"captions_per_image": 1, "pair_weight": 1.0, "training": recipe.model_dump(mode="json")}
        task, train = Task(parse(Params, values, "test"), models.model(prepared), prepared), prepared.split("train")
        curves.append(fit(task, loader(train, task.collate, Plans(len(train), 8, 3, 0), seed=0), recipe).rows)
        counted.append([float(value) for name, value in task.named_buffers() if name.endswith("num_batches_tracked")])
    for plain, again in zip(*curves, strict=True):
        assert plain == pytest.approx(again, rel=1e-3)
    assert counted[0] == counted[1], "a normalisation that runs again has seen no second batch"
