"""Pre-training: the backbone under any set of objectives."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vlp import plugins
from vlp.data.loading import Augmenter, Examples, Plans, Prepared, about_nothing, draw, loader, pad
from vlp.models import heads
from vlp.models.modeling import VLPModel
from vlp.models.nothing import NOTHING
from vlp.objectives.base import Drawn, Objective, ObjectiveParams, Sizes, Step
from vlp.params import Section, parse
from vlp.preprocessing.text import load_tokenizer, vocabulary_sha256
from vlp.recipe import Recipe
from vlp.records import Batch, Texts
from vlp.training.held_out import HeldOut
from vlp.training.launch import require_company
from vlp.training.loop import fit
from vlp.training.resume import Run

OBJECTIVES = "vlp.objectives"


class Phase(Section):
    """One of ``pretrain.phases``: some of the objectives, for some steps."""

    objectives: tuple[str, ...] = Field(min_length=1, description="names under pretrain.objectives")
    training: Recipe


class PretrainParams(Section):
    """``pretrain``."""

    captions_per_image: int = Field(gt=0, description="drawn a step; the image is encoded once for all")
    objectives: dict[str, dict[str, Any]] = Field(min_length=1, description="a file of src/vlp/objectives each")
    phases: dict[str, Phase] = Field(min_length=1, description="one after the other, each from where the last ended")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        used = {name for phase in self.phases.values() for name in phase.objectives}
        if unknown := sorted(used - set(self.objectives)):
            raise ValueError(f"phases name {', '.join(unknown)}, which objectives does not hold")
        if idle := sorted(set(self.objectives) - used):
            raise ValueError(f"no phase trains {', '.join(idle)}")
        return self

    def objective_params(self) -> dict[str, ObjectiveParams]:
        """Each objective's own section, checked against its own class, in the order they run."""
        # The contrastive similarities must be there before hard negatives are drawn from them.
        order = sorted(self.objectives, key=lambda name: (name != "contrastive", name))
        return {
            name: parse(
                plugins.find(OBJECTIVES, name).Params,
                self.objectives[name],
                f"params.yaml: pretrain.objectives.{name}",
            )
            for name in order
        }


class Pretraining(nn.Module):
    """The backbone and its objectives as one trainable module.

    Args:
        model: the backbone.
        params: the section ``pretrain``.
        prepared: the data's own numbers (special ids, vocabulary size).
    """

    def __init__(self, model: VLPModel, params: PretrainParams, prepared: Prepared) -> None:
        super().__init__()
        own = params.objective_params()
        self.model = model
        positions = model.text_encoder.max_positions
        if (longest := prepared.summary["max_tokens"]) > positions:
            raise ValueError(f"text.max_tokens is {longest}, more than model.text.max_positions: {positions}")
        sizes = Sizes(
            positions=positions,
            image=model.image_width,
            text=model.text_width,
            fused=model.fused_width,
            grid=model.image_encoder.grid,
            has_tokens=model.fusion.has_tokens,
        )
        self.heads: dict[str, Objective] = {
            name: plugins.find(OBJECTIVES, name).Head(section, prepared, sizes) for name, section in own.items()
        }
        self.objectives = nn.ModuleDict(self.heads)
        self.weights = {loss: section.weight for name, section in own.items() for loss in self.heads[name].losses}
        self.captions_per_image = params.captions_per_image
        self.prepared = prepared
        self.active = list(self.heads.values())

    def begin(self, phase: Phase) -> None:
        """Train what these objectives reach, and hold the rest as it is."""
        self.active = [head for name, head in self.heads.items() if name in phase.objectives]
        self.requires_grad_(False)
        for trained in (*self.active, self.model if self._reads_text else self.model.image_encoder):
            trained.requires_grad_(True)
        if not self._fuses:
            self.model.fusion.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """As of ``nn.Module``; norms of a fusion block that nothing trains now must not follow the batches either."""
        super().train(mode)
        if not self._fuses:
            self.model.fusion.eval()
        return self

    @property
    def _reads_text(self) -> bool:
        return any(head.reads_text for head in self.active)

    @property
    def _fuses(self) -> bool:
        return any(head.fuses for head in self.active)

    def collate(self, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        """Draw captions for each image, and from them the texts that each objective wants.

        ``positive`` is not there where no image of the batch has a caption.
        """
        texts: dict[str, Texts] = {}
        targets: dict[str, Tensor] = {}
        reads = any(head.reads_captions for head in self.active)
        drawn = self._draw(examples, rows, rng) if reads else None
        if drawn is not None:
            if drawn.positives:
                texts["positive"] = pad(drawn.positives, drawn.owner, drawn.pad_id)
            targets["caption_key"] = torch.tensor([_key(ids) for ids in drawn.positives], dtype=torch.int64)
            targets["image_keys"] = self._image_keys(examples, rows)
            targets["has_negative"] = torch.tensor([ids is not None for ids in drawn.negatives], dtype=torch.bool)
        for head in self.active:
            wanted = head.collate(examples, rows, drawn, rng)
            texts.update(wanted.texts)
            targets.update(wanted.targets)
        if self._reads_text and not texts:
            texts["nothing"] = about_nothing(self.prepared.mask_id, self.prepared.pad_id)
        return Batch(images=examples.images(rows), texts=texts, targets=targets)

    def _image_keys(self, examples: Examples, rows: Sequence[int]) -> Tensor:
        """Int64 [B, C]: keys of all captions of each image. C is the split's: processes share their rows."""
        found = torch.full((len(rows), examples.most("captions")), -1, dtype=torch.int64)
        for place, row in enumerate(rows):
            keys = [_key(ids) for ids in examples.ids("captions", "ids", row) if ids is not None]
            found[place, : len(keys)] = torch.tensor(keys, dtype=torch.int64)
        return found

    def _draw(self, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Drawn:
        positives: list[np.ndarray] = []
        negatives: list[np.ndarray | None] = []
        owner: list[int] = []
        for row, index in enumerate(rows):
            true = examples.ids("captions", "ids", index)
            false = examples.ids("captions", "negative_ids", index)
            for chosen in draw(len(true), self.captions_per_image, rng):
                ids = true[chosen]
                assert ids is not None
                positives.append(ids)
                negatives.append(false[chosen])
                owner.append(row)
        return Drawn(
            positives=positives,
            negatives=negatives,
            owner=owner,
            pad_id=self.prepared.pad_id,
            mask_id=self.prepared.mask_id,
            special=self.prepared.special_ids,
            vocabulary_size=self.prepared.vocabulary_size,
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalars of every objective, each loss without its weight."""
        step = Step(self.model, batch)
        scalars: dict[str, Tensor] = {}
        for head in self.active:
            found = head(step)
            if NOTHING in found and NOTHING in scalars:  # several have nothing to learn from this batch
                found[NOTHING] = found[NOTHING] + scalars[NOTHING]
            scalars.update(found)
        return scalars

    def save(self, folder: Path) -> None:
        """The backbone as transformers saves it, and ``objectives/<name>.safetensors`` beside it."""
        self.model.config.vocabulary = vocabulary_sha256(load_tokenizer(self.prepared.folder / "tokenizer"))
        self.model.save_pretrained(folder)
        (folder / "objectives").mkdir()
        for name, head in self.heads.items():
            heads.write(heads.Head(head.state_dict(), head.rows), folder / "objectives" / f"{name}.safetensors")


def _key(ids: np.ndarray) -> int:
    """Equal for equal captions."""
    return zlib.crc32(ids.tobytes())


def pretrain(
    module: Pretraining,
    params: PretrainParams,
    prepared: Prepared,
    seed: int,
    augment: Augmenter | None = None,
    run: Run | None = None,
) -> tuple[list[dict[str, float | str]], dict[str, float], dict[str, float]]:
    """Train ``module`` through its phases.

    Args:
        module: trained in place.
        params: the phases.
        prepared: trained on its ``train`` split.
        seed: of the order of rows and of everything drawn.
        augment: what is done to the pairs of the train split; None: nothing.
        run: goes on where it was killed before, at any step of any phase.

    Returns:
        The curve, one row a ``log_every`` steps with its ``phase``; every scalar on the validation split
        after the last phase, as of ``HeldOut``; images per second of each phase.

    Raises:
        ValueError: as of ``require_company``, for any of the phases.
    """
    for name, phase in params.phases.items():
        if any(module.heads[objective].compares for objective in phase.objectives):
            require_company(phase.training, f"pretrain.phases.{name}.training")
    train, validation = prepared.split("train"), prepared.split("validation")
    curve: list[dict[str, float | str]] = []
    speed: dict[str, float] = {}
    first = 0
    for number, (name, phase) in enumerate(params.phases.items(), start=1):
        recipe = phase.training
        module.begin(phase)
        # A seed of its own: a phase that opened with the order of the last would see its rows in the same company.
        plans = Plans(len(train), recipe.batch_size, recipe.steps, seed + number)
        batches = loader(train, module.collate, plans, seed=seed + number, workers=recipe.workers, augment=augment)
        history = fit(module, batches, recipe, module.weights, what=f"{name}: steps", run=run)
        curve += [{**row, "phase": name, "step": row["step"] + first} for row in history.rows]
        speed[f"{name}_examples_per_second"] = history.examples_per_second
        first += recipe.steps
    recipe = list(params.phases.values())[-1].training
    return curve, HeldOut(module, validation, recipe, seed).figures(), speed
