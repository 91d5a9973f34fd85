"""A backbone small enough that a test can train it."""

from __future__ import annotations

from typing import Any

from vlp.data.loading import Prepared
from vlp.models.configuration import ModelParams
from vlp.models.modeling import VLPModel
from vlp.params import parse
from vlp.recipe import Recipe

IMAGE = {"architecture": "custom", "layers": [1, 1], "stem": "standard", "output_stride": 8}
TEXT = {"hidden": 32, "layers": 1, "heads": 2, "intermediate": 64, "max_positions": 64, "dropout": 0.0}
CROSS_ATTENTION = {
    "name": "cross_attention",
    "hidden": 32,
    "layers": 1,
    "heads": 2,
    "mlp_ratio": 2.0,
    "dropout": 0.0,
}
CONCAT_MLP = {"name": "concat_mlp", "hidden": [32], "dropout": 0.0}


def model(prepared: Prepared, fusion: dict[str, Any] | None = None) -> VLPModel:
    """A new backbone on the prepared data's numbers, cross-attention unless told otherwise."""
    params = parse(ModelParams, {"image": IMAGE, "text": TEXT, "fusion": fusion or CROSS_ATTENTION}, "test")
    return VLPModel.from_params(
        params, vocab_size=prepared.vocabulary_size, image_size=prepared.image_size, pad_token_id=prepared.pad_id
    )


def recipe(steps: int, batch_size: int = 8, **more: Any) -> Recipe:
    """A short recipe in full precision."""
    values = {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": 3e-3,
        "warmup_share": 0.1,
        "weight_decay": 0.01,
        "gradient_clip": 1.0,
        "precision": "fp32",
        "log_every": 5,
        **more,
    }
    return parse(Recipe, values, "test")
