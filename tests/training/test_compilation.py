"""What ``compile: true`` compiles, and that nothing stays compiled.

That compiled steps train is test_gpu.py's: it takes a compiler minutes on two cores.
"""

from __future__ import annotations

import pytest
from torch import nn

from support import models, scenes
from vlp.data.loading import Prepared
from vlp.models.modeling import VLPModel
from vlp.training.compilation import compiled


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> VLPModel:
    return models.model(Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 8)))


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
