"""Backbones of every fusion block, tiny, without data; and what holds of all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vlp.models.configuration import ModelParams
from vlp.models.modeling import VLPModel
from vlp.params import parse
from vlp.records import Batch, Texts

IMAGE: dict[str, Any] = {"architecture": "custom", "layers": [1, 1], "output_stride": 8}
TEXT: dict[str, Any] = {
    "hidden": 16,
    "layers": 1,
    "heads": 2,
    "intermediate": 32,
    "max_positions": 24,
    "dropout": 0.0,
}
FUSIONS: dict[str, dict[str, Any]] = {
    "concat_mlp": {"hidden": [24, 20], "dropout": 0.0},
    "cross_attention": {"hidden": 20, "layers": 2, "heads": 4, "mlp_ratio": 2.0, "dropout": 0.0},
    "cross_attention, counting": {
        "name": "cross_attention",
        "hidden": 20,
        "layers": 2,
        "heads": 4,
        "mlp_ratio": 2.0,
        "dropout": 0.0,
        "counting_heads": 2,
    },
    "film": {"hidden": 20, "layers": 2, "dropout": 0.0},
    "transformer": {"hidden": 20, "layers": 2, "heads": 4, "mlp_ratio": 2.0, "dropout": 0.0},
}
VOCABULARY, SIZE = 30, 32


def params(fusion: str = "cross_attention", **image: Any) -> ModelParams:
    """``model:`` of params.yaml with one of ``FUSIONS``; ``image`` overrides its section."""
    chosen = {"name": fusion, **FUSIONS[fusion]}
    return parse(ModelParams, {"image": {**IMAGE, **image}, "text": TEXT, "fusion": chosen}, "test: model")


def backbone(fusion: str = "cross_attention") -> VLPModel:
    """A new model in eval mode for images of 32 px (a 4×4 grid) and 30 words."""
    return VLPModel.from_params(params(fusion), vocab_size=VOCABULARY, image_size=SIZE, pad_token_id=0).eval()


def images(count: int) -> Tensor:
    """Noise, uint8 [count, 32, 32, 3]."""
    return torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8)


def texts(count: int, length: int = 7) -> tuple[Tensor, Tensor]:
    """Random ids and their mask; every second text is two tokens shorter."""
    ids = torch.randint(1, VOCABULARY, (count, length))
    mask = torch.ones_like(ids)
    mask[1::2, length - 2 :] = 0
    return ids * mask, mask


def batch(image_count: int = 2, per_image: int = 3) -> Batch:
    """Images with ``per_image`` consecutive texts each, in one group named ``texts``."""
    ids, mask = texts(image_count * per_image)
    rows = torch.arange(image_count).repeat_interleave(per_image)
    some = Texts(input_ids=ids, attention_mask=mask, image_index=rows, per_image=per_image)
    return Batch(images=images(image_count), texts={"texts": some}, targets={})


def unused_parameters(module: nn.Module, loss: Tensor) -> list[str]:
    """The names of the parameters that ``loss`` does not reach."""
    module.zero_grad()
    loss.backward()
    return [name for name, parameter in module.named_parameters() if parameter.grad is None]
