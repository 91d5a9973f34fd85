"""This project's side of the training benchmarks: the very engine and loader that the stages use, a step at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training_rivals import Taken, wait
from vlp import params as parameters
from vlp.data.loading import Collate, Plans, Prepared, loader, to_device
from vlp.data.prefetch import prefetched
from vlp.models.configuration import ModelParams
from vlp.models.modeling import VLPModel
from vlp.overlays import apply
from vlp.params import parse
from vlp.plugins import find
from vlp.recipe import Recipe
from vlp.records import Batch
from vlp.training.determinism import seed_everything
from vlp.training.engine import Engine
from vlp.training.pretraining import Pretraining, PretrainParams

FOREVER = 1_000_000
TINY_SIZES: dict[str, Any] = {
    "image": {"architecture": "custom", "layers": [1, 1], "output_stride": 8},
    "text": {"hidden": 32, "layers": 1, "heads": 2, "intermediate": 64, "max_positions": 64, "dropout": 0.0},
}


def preset(root: Path, folder: Path, name: str | None) -> dict[str, Any]:
    """``params.yaml`` with the preset ``name`` merged into it, as plain values."""
    merged = folder / f"params-{name or 'default'}.yaml"
    merged.write_bytes((root / "params.yaml").read_bytes())
    if name is not None:
        apply(root / "presets" / f"{name}.yaml", (), merged)
    return parameters.read(merged)


def backbone(values: dict[str, Any], prepared: Prepared, *, tiny: bool = False) -> VLPModel:
    """A new backbone of the parameters ``values``; ``tiny`` has the same kinds of parts, small."""
    sizes = dict(values["model"])
    if tiny:
        fusion = sizes["fusion"]
        small = {"hidden": [32]} if fusion["name"] == "concat_mlp" else {"hidden": 32, "layers": 1, "heads": 2}
        sizes = {**TINY_SIZES, "fusion": {**fusion, **small}}
    return VLPModel.from_params(
        parse(ModelParams, sizes, "model"),
        vocab_size=max(prepared.vocabulary_size, 200 if tiny else values["text"]["vocabulary"]),
        image_size=prepared.image_size,
        pad_token_id=prepared.pad_id,
    )


def pretraining(
    values: dict[str, Any], prepared: Prepared, phase: str, *, tiny: bool = False
) -> tuple[Pretraining, Recipe]:
    """The module of a phase of ``pretrain``, begun, and its recipe."""
    seed_everything(0)
    section = parse(PretrainParams, values["pretrain"], "pretrain")
    module = Pretraining(backbone(values, prepared, tiny=tiny), section, prepared)
    module.begin(section.phases[phase])
    return module, section.phases[phase].training


def matching(values: dict[str, Any], prepared: Prepared, pretrained: Path | None) -> tuple[Any, Recipe]:
    """The matching task and its recipe, on ``pretrained`` or on a new backbone."""
    seed_everything(0)
    plugin = find("vlp.tasks", "matching")
    section = parse(plugin.Params, values["tasks"]["matching"], "tasks.matching")
    model = VLPModel.from_pretrained(pretrained) if pretrained else backbone(values, prepared)
    return plugin.Task(section, model, prepared), section.training


class Side:
    """A module being trained a step at a time, from shards, as ``fit`` does it.

    Args:
        module: with ``collate`` and ``forward``.
        prepared: whose train split is drawn from.
        recipe: batch size, precision, memory; the schedule is left out.
        device: to compute on.
        length: tokens that every text is padded to, beside a rival that cannot do with fewer; 0: those of the longest
            text of its batch, as in training.
    """

    def __init__(self, module: Any, prepared: Prepared, recipe: Recipe, device: torch.device, length: int = 0) -> None:
        self.module, self.recipe, self.device = module, recipe, device
        train = prepared.split("train")
        plans = Plans(len(train), recipe.batch_size, FOREVER, 0).share(passes=recipe.accumulate)
        collate = partial(_widened, module.collate, length) if length else module.collate
        self.batches = loader(train, collate, plans, seed=0, workers=recipe.workers)
        self.engine = Engine(module, recipe, getattr(module, "weights", {}), None, device)

    def steps(self) -> Iterator[Taken]:
        """Seconds of each step, waiting for its batch included."""
        with closing(prefetched(self.batches, self.device)) as stream, self.engine.ready():
            number = 1  # 0 would look for parameters that nothing uses: a module may be trained for its time only
            while True:
                start = wait(self.device)
                parts = [next(stream) for _ in range(self.recipe.accumulate)]
                found = self.engine.step(parts, number)
                now = wait(self.device)
                yield Taken(now - start, sum(map(pairs_of, parts)), loss_of(found[0]))
                number += 1

    def flops(self) -> float:
        """Floating-point operations of the matrix products and convolutions of one step, both passes."""
        batch = next(iter(self.batches))
        with FlopCounterMode(display=False) as counter:
            self.engine.step([to_device(batch, self.device)], 1)
        return float(counter.get_total_flops()) * self.recipe.accumulate


def _widened(collate: Collate, length: int, *of: Any) -> Batch:
    """The batch of ``collate`` with every text padded to ``length`` tokens."""
    batch = collate(*of)
    for texts in batch.texts.values():
        more = (0, length - texts.input_ids.shape[1])
        # What stands under a mask of 0 is never looked at, so any id may pad.
        texts.input_ids, texts.attention_mask = (F.pad(part, more) for part in (texts.input_ids, texts.attention_mask))
    return batch


def longest_caption(prepared: Prepared) -> int:
    """Tokens of the longest caption of the train split."""
    train = prepared.split("train")
    rows = (train.ids("captions", "ids", row) for row in range(len(train)))
    return max(len(ids) for captions in rows for ids in captions if ids is not None)


def bytes_at_least(side: Side) -> float:
    """Bytes that one step must move, however well it is fused: what the backward pass keeps is written and read once,
    weights are read twice and written once, gradients and both moments written and read.
    """
    weights = {parameter.untyped_storage().data_ptr() for parameter in side.module.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        side.engine.step([to_device(next(iter(side.batches)), side.engine.device)], 1)
    return (2.0 * sum(kept.values())) * side.recipe.accumulate + parameters_of(side.module) * 4 * 10


def pairs_of(batch: Batch) -> int:
    """Pairs of an image and a text in ``batch``; images, where it has no text."""
    return sum(len(texts.input_ids) for texts in batch.texts.values()) or len(batch.images)


def loss_of(scalars: dict[str, torch.Tensor]) -> float:
    """The first of the losses."""
    return next(float(value) for name, value in scalars.items() if name.endswith("_loss"))


def matrix_peak(device: torch.device, size: int, seconds: float = 2.0) -> float:
    """FLOP a second of a square bf16 matrix product, the best of repeated ones."""
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = wait(device)
        one @ other
        best = min(best, wait(device) - start)
    return 2 * size**3 / best


def memory_bandwidth(device: torch.device, megabytes: int = 1024) -> float:
    """Bytes a second of copying a large tensor, read and written."""
    source = torch.empty(megabytes * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(5):
        start = wait(device)
        target.copy_(source)
        best = min(best, wait(device) - start)
    return 2 * source.numel() / best


def parameters_of(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
