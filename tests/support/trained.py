"""Retrieval and captioning on the pictures of ``support.bundles``, trained for a moment; and their bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from support import bundles
from vlp.data.loading import Plans, Prepared, loader
from vlp.export import bundle, onnx
from vlp.models.configuration import ModelParams
from vlp.models.modeling import VLPModel
from vlp.params import parse
from vlp.plugins import find
from vlp.runtime.predictor import Predictor
from vlp.tasks.base import Task
from vlp.training.loop import fit

RECIPE = {
    "batch_size": 6,
    "learning_rate": 0.01,
    "warmup_share": 0.1,
    "weight_decay": 0.0,
    "gradient_clip": 1.0,
    "precision": "fp32",
}
SECTIONS: dict[str, dict[str, Any]] = {
    "retrieval": {
        "captions_per_query": 2,
        "width": 8,
        "temperature": 0.07,
        "matching_weight": 1.0,
        "rerank": 3,
        "candidates": 6,
        "training": {**RECIPE, "steps": 30},
    },
    "captioning": {
        "captions_per_image": 2,
        "decoder": {"hidden": 16, "layers": 2, "heads": 2, "intermediate": 32},
        "training": {**RECIPE, "steps": 60},
    },
}


def trained(name: str, prepared: Path, **more: Any) -> Any:
    """The task ``name``, trained for a few steps and calibrated."""
    torch.manual_seed(0)
    data = Prepared(prepared)
    sizes = {"vocab_size": data.vocabulary_size, "image_size": data.image_size, "pad_token_id": data.pad_id}
    plain = {**bundles.MODEL, **{part: {**bundles.MODEL[part], "dropout": 0.0} for part in ("text", "fusion")}}
    plugin = find("vlp.tasks", name)
    params = parse(plugin.Params, {**SECTIONS[name], **more}, name)
    task = plugin.Task(params, VLPModel.from_params(parse(ModelParams, plain, "MODEL"), **sizes), data)
    train, recipe = data.split("train"), params.training
    fit(task, loader(train, task.collate, Plans(len(train), recipe.batch_size, recipe.steps, 0), seed=0), recipe)
    task.calibrate(data.split("validation"), seed=0)
    return task.eval()


def bundled(task: Task, prepared: Path, folder: Path) -> Predictor:
    """The task exported by the real exporter, and opened."""
    metrics = folder.parent / "metrics.json"
    metrics.write_text("{}")
    contents = bundle.Contents(
        tasks={task.name: onnx.write_task(task, folder / task.name)},
        tokenizer=prepared / "tokenizer" / "tokenizer.json",
        params={"image": bundles.IMAGE_PARAMS, "text": bundles.TEXT_PARAMS},
        metrics={task.name: metrics},
        lineage={"data": "0" * 64},
    )
    bundle.write(folder, contents)
    return Predictor.open(folder, threads=1)
