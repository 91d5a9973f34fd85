"""Masked language modelling with the image in view (MLM).

A share of each caption's tokens is hidden, and the fused tokens are to say what stood there. On short
captions it is the densest signal for grounding: to restore a hidden colour or "left" one must look.

As in BERT, of the chosen tokens 80 % become ``[MASK]``, 10 % a random token, 10 % stay.

Source: Devlin et al. 2019, https://arxiv.org/abs/1810.04805; with images: Li et al. 2021,
https://arxiv.org/abs/2107.07651
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Examples, Prepared, pad
from vlp.models.nothing import NOTHING, nothing
from vlp.objectives.base import Collated, Drawn, Objective, ObjectiveParams, Sizes, Step

IGNORE = -100


class Params(ObjectiveParams):
    """``pretrain.objectives.masked_text``."""

    mask_share: float = Field(gt=0, lt=1, description="of a caption's tokens, at least one")
    mask_edits: float = Field(
        ge=0, le=1, description="share of the masked captions that hide what their minimal edit changes instead"
    )
    captions_per_image: int = Field(gt=0, description="of those drawn; the others stay whole")


class Head(Objective):
    """BERT's prediction head on the fused tokens: dense, GELU, norm, decoder."""

    losses = ("mlm_loss",)

    def __init__(self, params: Params, prepared: Prepared, sizes: Sizes) -> None:
        super().__init__()
        self.params = params
        self.dense = nn.Linear(sizes.fused, sizes.fused)
        self.norm = nn.LayerNorm(sizes.fused)
        self.decoder = nn.Linear(sizes.fused, prepared.vocabulary_size)

    def collate(
        self, examples: Examples, rows: Sequence[int], drawn: Drawn | None, rng: np.random.Generator
    ) -> Collated:
        """``masked``: copies of some captions of each image with tokens hidden; ``targets`` are those tokens."""
        assert drawn is not None
        chosen: list[int] = []
        for captions in drawn.by_image():
            chosen += rng.choice(captions, min(self.params.captions_per_image, len(captions)), replace=False).tolist()
        if not chosen:
            return Collated()
        words = np.ones(drawn.vocabulary_size, bool)
        words[list(drawn.special)] = False
        masked = [self._mask(drawn, index, words, rng) for index in chosen]
        texts = pad([ids for ids, _ in masked], [drawn.owner[index] for index in chosen], drawn.pad_id)
        texts.targets = pad([targets for _, targets in masked], [0] * len(masked), IGNORE).input_ids
        return Collated({"masked": texts})

    def _mask(
        self, drawn: Drawn, index: int, words: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """One caption with tokens hidden, and the targets; ``words`` bool [V]: what may be hidden.

        A caption without a known word stays whole.
        """
        ids = drawn.positives[index]
        places = np.flatnonzero(words[ids])
        if not len(places):
            return _hide(ids, places, drawn, rng)
        chosen = rng.choice(
            places, min(max(1, round(self.params.mask_share * len(places))), len(places)), replace=False
        )
        edited = _edited(ids, drawn.negatives[index])
        edited = edited[words[ids[edited]]]
        # What a minimal edit changes is what only the picture can tell; the other words follow from the grammar.
        if rng.random() < self.params.mask_edits and len(edited):
            chosen = edited
        return _hide(ids, chosen, drawn, rng)

    def forward(self, step: Step) -> dict[str, Tensor]:
        if "masked" not in step.batch.texts:  # no image of this batch has a caption
            return {NOTHING: step.nothing(self)}
        masked = step.batch.texts["masked"]
        assert masked.targets is not None
        fused = step.fused("masked")
        if fused.tokens is None:
            raise ValueError(
                f"pretrain.objectives.masked_text: fusion {step.model.config.fusion['name']!r} joins pooled features "
                "and has no fused tokens to predict words from; remove the objective or choose another fusion"
            )
        where = masked.targets != IGNORE
        if not bool(where.any()):  # of these captions no word is known
            return {NOTHING: nothing([*self.parameters(), fused.tokens])}
        target = masked.targets[where]
        # Only the hidden places pass the decoder: on short captions four in five do not count.
        logits = self.decoder(self.norm(F.gelu(self.dense(fused.tokens[where])))).float()
        return {
            "mlm_loss": F.cross_entropy(logits, target),
            "mlm_accuracy": (logits.argmax(-1) == target).float().mean(),
        }


def _hide(ids: np.ndarray, places: np.ndarray, drawn: Drawn, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The text with those places hidden, and the targets: the hidden ids, ``IGNORE`` elsewhere."""
    ids = ids.astype(np.int64)
    targets = np.full(len(ids), IGNORE, np.int64)
    targets[places] = ids[places]
    roll = rng.random(len(places))
    ids[places[roll < 0.8]] = drawn.mask_id
    random_ones = places[(roll >= 0.8) & (roll < 0.9)]
    ids[random_ones] = rng.integers(0, drawn.vocabulary_size, len(random_ones))
    return ids, targets


def _edited(ids: np.ndarray, edit: np.ndarray | None) -> np.ndarray:
    """The places in which a text and its minimal edit differ; none where they are of different lengths."""
    if edit is None or len(edit) != len(ids):
        return np.empty(0, np.int64)
    return np.flatnonzero(ids != edit)
