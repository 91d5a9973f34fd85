"""The contract of a pre-training objective, and what the objectives of one step share.

An objective is a head, a loss and the texts that it wants in the batch. It assumes nothing of the
others: which of them run, and with what weight, is ``pretrain.objectives`` in params.yaml. What they
share, they share through ``Step``: every image and every true caption is encoded once, whoever asks.

Losses are named entries that end in ``_loss``; everything else an objective returns is a report. Where a batch has
nothing to teach it, it returns ``NOTHING`` (``vlp.models.nothing``) of what it computes all the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Examples
from vlp.models.contrastive import same_caption
from vlp.models.features import Fused, ImageFeatures, TextFeatures
from vlp.models.modeling import VLPModel
from vlp.models.nothing import nothing
from vlp.params import Section
from vlp.records import Batch, Texts


class ObjectiveParams(Section):
    """What every objective has."""

    weight: float = Field(ge=0, description="of all its losses")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a head is sized by: widths of ``Step.grid``, of texts and of fused features; the grid's rows and columns;
    whether texts come back from the fusion block token by token; how many tokens a text may have.
    """

    image: int
    text: int
    fused: int
    grid: tuple[int, int]
    has_tokens: bool
    positions: int


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


@dataclass(frozen=True, slots=True)
class Collated:
    """What one objective adds to a batch: groups of texts and targets, by name."""

    texts: dict[str, Texts] = field(default_factory=dict)
    targets: dict[str, Tensor] = field(default_factory=dict)


class Step:
    """One forward pass of pre-training: everything that the objectives share, computed once.

    All texts of the batch, whichever objective asked for them, pass the encoders together: on a small
    model the number of operations costs as much as their size.

    Args:
        model: the backbone.
        batch: with the texts ``positive``, where an active objective reads captions and there are some, and what the
            objectives added; with some text, where one reads any.

    Attributes:
        grid: what the image encoder itself makes of the B images.
        image: the same as the fusion block wants it.
        similarity: float [N, B], set by the contrastive objective: how well each true caption fits each image.
        same_caption: bool [N, B]: the caption is, word for word, also a caption of that image. Never a negative.
    """

    def __init__(self, model: VLPModel, batch: Batch) -> None:
        self.model, self.batch = model, batch
        self.grid = model.image_encoder(batch.images)
        if not batch.texts:
            return
        self.image: ImageFeatures = model.fusion.embed_image(self.grid)
        self._together = _Together(batch.texts)
        self._text = model.encode_text(self._together.all.input_ids, self._together.all.attention_mask)
        self._fused: Fused | None = None
        self.similarity: Tensor | None = None
        if "positive" in batch.texts:
            self.same_caption = same_caption(batch.targets["caption_key"], batch.targets["image_keys"])

    def text(self, name: str) -> TextFeatures:
        """Features of the texts of that name, before they meet the image."""
        return TextFeatures(
            tokens=self._together.part(name, self._text.tokens), pooled=self._together.part(name, self._text.pooled)
        )

    def fused(self, name: str) -> Fused:
        """The texts of that name fused, each with the image it belongs to."""
        if self._fused is None:
            texts = self._together.all
            self._fused = self.model.fuse(self._text, texts.attention_mask, self.image.of(texts))
        tokens = None if self._fused.tokens is None else self._together.part(name, self._fused.tokens)
        return Fused(
            tokens=tokens,
            pooled=self._together.part(name, self._fused.pooled),
            attention=tuple(self._together.looks(name, each) for each in self._fused.attention),
            gates=tuple(self._together.looks(name, each) for each in self._fused.gates),
        )

    def nothing(self, head: Objective) -> Tensor:
        """The loss of a head that this batch has nothing for: zero, and so is the gradient of all that it trains.

        By way of a text that passed the model for others: several processes that train together must each pass every
        part of it, whichever batch had something to teach.
        """
        name = next(iter(self.batch.texts))
        read = self.fused(name).pooled if head.fuses else self.text(name).pooled
        return nothing((*head.parameters(), self.grid.pooled, read))


class _Together:
    """Groups of texts as one, and the way back.

    Where every group has the same number of texts for each image, the texts stand image by image, so that
    an image's row can serve all of them; else group by group.
    """

    def __init__(self, groups: dict[str, Texts]) -> None:
        length = max(texts.input_ids.shape[1] for texts in groups.values())
        images = {len(texts.input_ids) / texts.per_image if texts.per_image else 0 for texts in groups.values()}
        self._regular = len(images) == 1 and 0 not in images
        self._counts = {
            name: texts.per_image if self._regular else len(texts.input_ids) for name, texts in groups.items()
        }
        self._lengths = {name: texts.input_ids.shape[1] for name, texts in groups.items()}

        def join(rows: list[Tensor]) -> Tensor:
            if not self._regular:
                return torch.cat(rows)
            each = zip(rows, groups.values(), strict=True)
            return torch.cat([row.unflatten(0, (-1, texts.per_image)) for row, texts in each], dim=1).flatten(0, 1)

        def wide(row: Tensor) -> Tensor:
            return F.pad(row, (0, length - row.shape[1]))

        self.all = Texts(
            # What stands under a mask of 0 is never looked at, so any id may pad.
            input_ids=join([wide(texts.input_ids) for texts in groups.values()]),
            attention_mask=join([wide(texts.attention_mask) for texts in groups.values()]),
            image_index=join([texts.image_index for texts in groups.values()]),
            per_image=sum(self._counts.values()) if self._regular else 0,
        )

    def part(self, name: str, rows: Tensor) -> Tensor:
        """The rows of one group, [N, D] or at its own length [N, L, D]."""
        found = self._rows(name, rows)
        return found[:, : self._lengths[name]] if found.ndim == 3 else found

    def looks(self, name: str, maps: Tensor) -> Tensor:
        """The maps of one group over places, [N, heads, L, P] at its own length."""
        return self._rows(name, maps)[:, :, : self._lengths[name]]

    def _rows(self, name: str, rows: Tensor) -> Tensor:
        names = list(self._counts)
        before = sum(self._counts[other] for other in names[: names.index(name)])
        place = slice(before, before + self._counts[name])
        if self._regular:
            return rows.unflatten(0, (-1, self.all.per_image))[:, place].flatten(0, 1)
        return rows[place]


class Objective(nn.Module, ABC):
    """A head and a loss for pre-training."""

    losses: ClassVar[tuple[str, ...]]
    """The names of its losses among the scalars it returns; ``weight`` holds for all of them."""
    fuses: ClassVar[bool] = True
    """Whether it reads fused features; if none of a phase does, the fusion block is not trained."""
    compares: ClassVar[bool] = False
    """Whether its loss tells the images of a batch apart, of all processes: of one image alone there is nothing to."""
    reads_text: ClassVar[bool] = True
    """Whether it needs texts at all; if none of a phase does, only the image encoder runs."""
    rows: Sequence[str] = ()
    """Whose each row of its output is, where they are somebody's (labels, answers): saved with it, for whoever starts
    from it may know others."""
    reads_captions: ClassVar[bool] = True
    """Whether it needs the captions drawn for the batch; if none of a phase does, none are drawn and encoded."""

    def collate(
        self, examples: Examples, rows: Sequence[int], drawn: Drawn | None, rng: np.random.Generator
    ) -> Collated:
        """What this objective wants in the batch besides the captions ``positive``.

        Args:
            examples: the split.
            rows: of the batch's images.
            drawn: the captions, where an active objective reads any; there may be none.
            rng: of this batch.
        """
        return Collated()

    @abstractmethod
    def forward(self, step: Step) -> dict[str, Tensor]:
        """Scalars: the loss, under a name that ends in ``_loss``, and reports."""
