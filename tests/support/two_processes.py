"""What each of several processes does in ``test_distributed.py``: ``python -m support.two_processes JSON``."""

from __future__ import annotations

from support import startup  # isort: skip  # before torch

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from vlp.stages import base
from support import models, small_run
from vlp.data.loading import Prepared
from vlp.models.distributed import rank, world
from vlp.params import parse
from vlp.recipe import Recipe
from vlp.records import Batch
from vlp.tasks.retrieval import Params, Task
from vlp.training.determinism import seed_everything
from vlp.training.engine import Engine
from vlp.training.launch import is_first, join
from vlp.training.loop import average
from vlp.training.memory import whole
from vlp.training.pretraining import Pretraining, PretrainParams

IMAGES = 8
# A mean over words of the batch is no mean of the processes' means where their numbers of words differ.
OBJECTIVES = {**small_run.OBJECTIVES, "matching": {**small_run.OBJECTIVES["matching"], "word_weight": 0.0}}


def gradients(asked: dict[str, Any]) -> None:
    """For each recipe of ``asked``, by the file to write: the gradient of one whole batch after the first step, and the
    losses that each process by itself finds of that batch, held out. Each trains on its share of the images.

    Pre-training, or where a recipe has the key ``task``, that one's contrastive loss.
    """
    startup.over()
    device = join()  # before anything asks who else there is
    prepared = Prepared(Path(asked["prepared"]))
    for out, recipe in asked["recipes"].items():
        task = recipe.pop("task", None)
        module = retrieval(prepared) if task else pretraining(prepared)
        own = range(IMAGES)[rank() * IMAGES // world() : (rank() + 1) * IMAGES // world()]
        batch = module.collate(prepared.split("train"), range(IMAGES), np.random.default_rng(3))
        held_out = average(module, [batch], models.recipe(1))
        # Which negatives are drawn for matching differs from process to process.
        weights = {"matching_loss": 0.0, "ranking_loss": 0.0} if task else module.weights
        found = stepped(module, share(batch, own), models.recipe(1, gradient_clip=1e9, **recipe), weights, device)
        of_all = ("itc_loss", "contrastive_loss")
        found |= {f"held_out.{name}": torch.tensor(held_out[name]) for name in of_all if name in held_out}
        if is_first():
            save_file({name: value.contiguous() for name, value in found.items()}, out)


def stepped(
    module: nn.Module, batch: Batch, recipe: Recipe, loss_weights: dict[str, float], device: torch.device
) -> dict[str, torch.Tensor]:
    """Whole gradients and statistics of one step, and this process's weights after it."""
    engine = Engine(module, recipe, loss_weights, None, device)
    found: dict[str, torch.Tensor] = {}

    def keep(*_: Any) -> None:
        found.update(
            {name: whole(p.grad).clone() for name, p in engine.module.named_parameters() if p.grad is not None}
        )

    engine.optimizer.register_step_pre_hook(keep)
    with engine.ready():
        engine.step([batch], 0)
    statistics = {name: whole(value).clone() for name, value in engine.module.named_buffers() if "running" in name}
    weights = {f"weight.{name}": value.detach().clone() for name, value in module.named_parameters()}
    return {**found, **statistics, **weights}


def pretraining(prepared: Prepared) -> Pretraining:
    """The same in every process."""
    training = models.recipe(1).model_dump(mode="json")
    values = {
        "captions_per_image": 2,
        "objectives": OBJECTIVES,
        "phases": {"all": {"objectives": list(OBJECTIVES), "training": training}},
    }
    seed_everything(0)
    return Pretraining(models.model(prepared), parse(PretrainParams, values, "test"), prepared)


def retrieval(prepared: Prepared) -> Task:
    """The same in every process."""
    training = models.recipe(1).model_dump(mode="json")
    values = {
        "captions_per_query": 2, "width": 16, "temperature": 0.07, "matching_weight": 1.0, "rerank": 4, "candidates": 8,
        "training": training,
    }  # fmt: skip
    seed_everything(0)
    return Task(parse(Params, values, "test"), models.model(prepared), prepared)


def share(batch: Batch, images: range) -> Batch:
    """The part of ``batch`` that belongs to those images."""
    texts = {}
    for name, text in batch.texts.items():
        mine = (text.image_index >= images.start) & (text.image_index < images.stop)
        texts[name] = type(text)(
            input_ids=text.input_ids[mine],
            attention_mask=text.attention_mask[mine],
            image_index=text.image_index[mine] - images.start,
            per_image=text.per_image,
        )
    about = next(iter(batch.texts.values())).image_index
    rows = (about >= images.start) & (about < images.stop)
    targets = {
        name: value[images.start : images.stop] if len(value) == len(batch.images) else value[rows]
        for name, value in batch.targets.items()
    }
    return Batch(images=batch.images[images.start : images.stop], texts=texts, targets=targets)


if __name__ == "__main__":
    base.run(lambda: gradients(json.loads(sys.argv[1])))
