"""Pre-training: the backbone under any set of objectives."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from vlp import plugins
from vlp.data.loading import Examples, Prepared, draw, pad
from vlp.models.modeling import VLPModel
from vlp.objectives.base import Drawn, Objective, ObjectiveParams, Step
from vlp.params import Section, parse
from vlp.recipe import Recipe
from vlp.records import Batch

OBJECTIVES = "vlp.objectives"


class PretrainParams(Section):
    """``pretrain``."""

    captions_per_image: int = Field(gt=0, description="drawn a step; the image is encoded once for all")
    objectives: dict[str, dict[str, Any]] = Field(min_length=1, description="a file of src/vlp/objectives each")
    training: Recipe

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


def build_objectives(model: VLPModel, params: dict[str, ObjectiveParams]) -> dict[str, Objective]:
    """The head of each objective, sized to the backbone."""
    widths = (model.image_width, model.text_width, model.fused_width)
    return {name: plugins.find(OBJECTIVES, name).Head(own, model.config, *widths) for name, own in params.items()}


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
        self.objectives = nn.ModuleDict(build_objectives(model, own))
        self.weights = {self.objectives[name].loss: section.weight for name, section in own.items()}
        self.captions_per_image = params.captions_per_image
        self.prepared = prepared

    def collate(self, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        """Draw captions for each image, and from them the texts that each objective wants."""
        drawn = self._draw(examples, rows, rng)
        texts = {"positive": pad(drawn.positives, drawn.owner, drawn.pad_id)}
        for objective in self.objectives.values():
            assert isinstance(objective, Objective)
            texts.update(objective.texts(drawn, rng))
        keys = [zlib.crc32(ids.tobytes()) for ids in drawn.positives]
        targets = {
            "caption_key": torch.tensor(keys, dtype=torch.int64),
            "has_negative": torch.tensor([ids is not None for ids in drawn.negatives]),
        }
        return Batch(images=examples.images(rows), texts=texts, targets=targets)

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
        positive = batch.texts["positive"]
        step = Step(
            model=self.model,
            batch=batch,
            image=self.model.encode_image(batch.images),
            text=self.model.encode_text(positive.input_ids, positive.attention_mask),
        )
        scalars: dict[str, Tensor] = {}
        for objective in self.objectives.values():
            scalars.update(objective(step))
        return scalars

    def save(self, folder: Path) -> None:
        """The backbone as transformers saves it, and ``objectives/<name>.safetensors`` beside it."""
        self.model.save_pretrained(folder)
        (folder / "objectives").mkdir()
        for name, objective in self.objectives.items():
            save_file(objective.state_dict(), folder / "objectives" / f"{name}.safetensors")
