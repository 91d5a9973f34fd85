"""The contract of a pre-training objective, and what the objectives of one step share.

An objective is a head, a loss and the texts that it wants in the batch. It assumes nothing of the
others: which of them run, and with what weight, is ``pretrain.objectives`` in params.yaml. What they
share, they share through ``Step``: every image and every true caption is encoded once, whoever asks.

Losses are named entries that end in ``_loss``; everything else an objective returns is a report.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from vlp.models.features import ImageFeatures, TextFeatures
from vlp.models.modeling import VLPModel
from vlp.params import Section
from vlp.records import Batch, Texts


class ObjectiveParams(Section):
    """What every objective has."""

    weight: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """The captions drawn for one batch, before they are padded.

    ``positives[i]`` are token ids true of image ``owner[i]``; ``negatives[i]`` a minimal edit of it
    that is false of that image, or None. ``special`` are the tokenizer's special ids.
    """

    positives: list[np.ndarray]
    negatives: list[np.ndarray | None]
    owner: list[int]
    pad_id: int
    mask_id: int
    special: frozenset[int]
    vocabulary_size: int

    def by_image(self) -> list[list[int]]:
        """The places of each image's captions in ``positives``, image by image."""
        places: dict[int, list[int]] = {}
        for place, owner in enumerate(self.owner):
            places.setdefault(owner, []).append(place)
        return list(places.values())


@dataclass(slots=True)
class Step:
    """One forward pass of pre-training: the batch and what has been computed of it so far."""

    model: VLPModel
    batch: Batch
    image: ImageFeatures
    text: TextFeatures
    """Of the texts named ``positive``."""
    similarity: Tensor | None = None
    """float [N, B], by the contrastive objective: how well each true caption fits each image."""
    same_caption: Tensor = field(init=False)
    """bool [N, B]: the caption is, word for word, also a caption of that image. Never a negative."""

    def __post_init__(self) -> None:
        key_N, owner_N = self.batch.targets["caption_key"], self.batch.texts["positive"].image_index
        same_NN = key_N[:, None] == key_N[None, :]
        columns = len(self.batch.images)
        counts = torch.zeros(len(key_N), columns, device=key_N.device)
        counts.index_add_(1, owner_N, same_NN.float())
        self.same_caption = counts > 0


class Objective(nn.Module, ABC):
    """A head and a loss for pre-training."""

    Params: ClassVar[type[ObjectiveParams]]
    loss: ClassVar[str]
    """The name of its loss among the scalars it returns."""

    def texts(self, drawn: Drawn, rng: np.random.Generator) -> dict[str, Texts]:
        """The texts this objective wants in the batch besides ``positive``, by name."""
        return {}

    @abstractmethod
    def forward(self, step: Step) -> dict[str, Tensor]:
        """Scalars: the loss, under a name that ends in ``_loss``, and reports."""
