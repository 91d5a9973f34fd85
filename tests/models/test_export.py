"""Image part and text part of every fusion block follow torch's ONNX exporter, batch and length dynamic."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from support import backbones
from vlp.models.features import ImageFeatures
from vlp.models.modeling import VLPModel
from vlp.tasks.base import image_part


class _Pair(nn.Module):
    def __init__(self, model: VLPModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, pooled: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        image = ImageFeatures(tokens=tokens, pooled=pooled)
        fused = self.model.fuse(self.model.encode_text(ids, mask), mask, image)
        return (fused.pooled,) if fused.tokens is None else (fused.pooled, fused.tokens)


def _session(
    module: nn.Module, inputs: dict[str, Tensor], dynamic: tuple[Any, ...], path: Path
) -> onnxruntime.InferenceSession:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter deprecates parts of itself
        torch.onnx.export(
            module.eval(), tuple(inputs.values()), path, dynamo=True, verbose=False,
            dynamic_shapes=dynamic, input_names=list(inputs),
        )  # fmt: skip
    return onnxruntime.InferenceSession(path)


ROWS, LENGTH = Dim("rows"), Dim("length")


def _backbone(fusion: str) -> VLPModel:
    model = backbones.backbone(fusion)
    model.train()(backbones.batch())  # batch statistics off their start
    return model.eval()


@pytest.mark.slow
def test_onnx_runtime_sees_as_torch_does(tmp_path: Path) -> None:
    model = _backbone("cross_attention")  # of which the image part is no part
    part = image_part(model, backbones.images(3))
    image = _session(part.module, part.inputs, ({0: ROWS},), tmp_path / "image.onnx")
    for count in (1, 3, 5):
        images = backbones.images(count)
        with torch.no_grad():
            features = model.encode_image(images)
        tokens, pooled = image.run(None, {"images": images.numpy()})
        np.testing.assert_allclose(tokens, features.tokens.numpy(), atol=1e-4, rtol=0)
        np.testing.assert_allclose(pooled, features.pooled.numpy(), atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", list(backbones.FUSIONS))
def test_onnx_runtime_answers_as_torch_does(tmp_path: Path, fusion: str) -> None:
    model = _backbone(fusion)
    names = ("tokens", "pooled", "ids", "mask")

    def inputs(count: int, *words: int) -> dict[str, Tensor]:
        with torch.no_grad():
            features = model.encode_image(backbones.images(count))
        return dict(zip(names, (features.tokens, features.pooled, *backbones.texts(count, *words)), strict=True))

    by_row, by_token = {0: ROWS}, {0: ROWS, 1: LENGTH}
    pair = _session(_Pair(model), inputs(3), (by_row, by_row, by_token, by_token), tmp_path / "pair.onnx")
    taken = {port.name for port in pair.get_inputs()}
    for count, words in ((1, 4), (3, 7), (5, 24)):
        asked = inputs(count, words)
        with torch.no_grad():
            expected = _Pair(model)(*asked.values())
        found = pair.run(None, {name: value.numpy() for name, value in asked.items() if name in taken})
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4, rtol=0)
