"""Image–text matching (ITM): is this text true of this image?

Negatives are minimal edits where the data has them. Where it has none, a batch supplies them: for each
caption another image, and for each image another caption, drawn the more often the more alike the
contrastive objective thinks they are (ALBEF's hard negatives). A caption that another image shares word
for word is never that image's negative.

A collapsed run answers every pair with the base rate; its loss is then the base rate's entropy, so that
entropy is reported beside the loss.

Source: Li et al. 2021 (ALBEF), https://arxiv.org/abs/2107.07651
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Examples, Prepared, pad
from vlp.models.features import Fused, TextFeatures
from vlp.models.nothing import NOTHING, nothing
from vlp.objectives.base import Collated, Drawn, Objective, ObjectiveParams, Sizes, Step


class Params(ObjectiveParams):
    """``pretrain.objectives.matching``."""

    in_batch_negatives: int = Field(
        ge=0, le=2, description="per caption without a minimal edit: 1 another image, 2 another caption as well"
    )

    pair_weight: float = Field(ge=0, description="of telling a caption from its edit, beside judging each alone")
    word_weight: float = Field(ge=0, description="of telling which of its words are edited, where data has edits")


class Head(Objective):
    """One logit on the fused features."""

    losses = ("itm_loss", "pair_loss", "word_loss")

    def __init__(self, params: Params, prepared: Prepared, sizes: Sizes) -> None:
        super().__init__()
        self.in_batch_negatives = params.in_batch_negatives
        self.pair_weight, self.word_weight = params.pair_weight, params.word_weight
        self.logit = nn.Linear(sizes.fused, 1)
        edited = prepared.summary["splits"]["train"]["negatives"]
        self.word = nn.Linear(sizes.fused, 1) if params.word_weight and edited else None

    def collate(
        self, examples: Examples, rows: Sequence[int], drawn: Drawn | None, rng: np.random.Generator
    ) -> Collated:
        """``negative``: the minimal edits, each on the image that its caption is true of."""
        assert drawn is not None
        edits = [(ids, owner) for ids, owner in zip(drawn.negatives, drawn.owner, strict=True) if ids is not None]
        if not edits:
            return Collated()
        texts = pad([ids for ids, _ in edits], [owner for _, owner in edits], drawn.pad_id)
        return Collated({"negative": texts})

    def forward(self, step: Step) -> dict[str, Tensor]:
        if "positive" not in step.batch.texts:  # no image of this batch has a caption
            return {NOTHING: step.nothing(self)}
        logits = [self._logits(step.fused("positive"))]
        if "negative" in step.batch.texts:
            logits.append(self._logits(step.fused("negative")))
        without_edit = ~step.batch.targets["has_negative"]
        if self.in_batch_negatives and bool(without_edit.any()):
            logits.append(self._in_batch(step, without_edit))
        found = _report(logits[0], torch.cat(logits[1:]) if len(logits) > 1 else logits[0].new_empty(0))
        if self.pair_weight and not bool(without_edit.all()):
            # The two differ in a word: whatever else the image and the sentence bring cancels out.
            margin = logits[0][~without_edit] - logits[1]
            found["pair_loss"] = self.pair_weight * F.softplus(-margin).mean()
            found["pair_accuracy"] = (margin > 0).float().mean()
        if self.word is not None:
            found.update(self._words(step, ~without_edit, self.word))
        return found

    def _words(self, step: Step, edited: Tensor, word: nn.Linear) -> dict[str, Tensor]:
        """Which words are wrong? At the places in which a caption and its edit of the same length differ."""
        if not bool(edited.any()):
            return {NOTHING: nothing(word.parameters())}
        true, false = step.batch.texts["positive"], step.batch.texts["negative"]
        true_tokens, false_tokens = step.fused("positive").tokens, step.fused("negative").tokens
        if true_tokens is None or false_tokens is None:
            raise ValueError(
                f"pretrain.objectives.matching: fusion {step.model.config.fusion['name']!r} has no fused tokens "
                "to judge words by; set word_weight to 0 or choose another fusion"
            )
        length = min(true.input_ids.shape[1], false.input_ids.shape[1])
        true_ids, true_mask = true.input_ids[edited, :length], true.attention_mask[edited]
        same_length = true_mask.sum(1) == false.attention_mask.sum(1)
        differ = (
            (true_ids != false.input_ids[:, :length]) & same_length[:, None] & (false.attention_mask[:, :length] > 0)
        )
        if not bool(differ.any()):  # every edit of this batch changes the number of words
            return {NOTHING: nothing(word.parameters())}
        right = word(true_tokens[edited, :length][differ]).squeeze(-1).float()
        wrong = word(false_tokens[:, :length][differ]).squeeze(-1).float()
        logits = torch.cat([right, wrong])
        labels = torch.cat([torch.ones_like(right), torch.zeros_like(wrong)])
        loss = F.binary_cross_entropy_with_logits(logits, labels) + F.softplus(wrong - right).mean()
        return {"word_loss": self.word_weight * loss, "word_accuracy": (right > wrong).float().mean()}

    def _in_batch(self, step: Step, rows: Tensor) -> Tensor:
        """Logits of mismatched pairs for those captions."""
        positive = step.batch.texts["positive"]
        allowed_NB = ~step.same_caption
        similarity_NB = (
            step.similarity if step.similarity is not None else torch.zeros_like(allowed_NB, dtype=torch.float)
        )
        usable = rows & allowed_NB.any(1)
        weight_NB = similarity_NB.softmax(1).clamp_min(1e-4) * allowed_NB
        text_index = usable.nonzero().squeeze(1)
        if not len(text_index):
            return positive.attention_mask.new_empty(0, dtype=torch.float)
        image_index = torch.multinomial(weight_NB[text_index], 1).squeeze(1)
        pairs = [(text_index, image_index)]
        if self.in_batch_negatives > 1:
            # The other direction: for each caption's own image, a caption that is not its own.
            own = positive.image_index[text_index]
            columns_BN = (similarity_NB.softmax(0).clamp_min(1e-4) * allowed_NB).T[own]
            possible = columns_BN.sum(1) > 0
            other = torch.multinomial(columns_BN[possible], 1).squeeze(1)
            pairs.append((other, own[possible]))
        texts = torch.cat([text for text, _ in pairs])
        images = torch.cat([image for _, image in pairs])
        known = step.text("positive")
        text = TextFeatures(tokens=known.tokens[texts], pooled=known.pooled[texts])
        return self._logits(step.model.fuse(text, positive.attention_mask[texts], step.image.index(images)))

    def _logits(self, fused: Fused) -> Tensor:
        return self.logit(fused.pooled).squeeze(-1).float()


def _report(positive: Tensor, negative: Tensor) -> dict[str, Tensor]:
    logits = torch.cat([positive, negative])
    labels = torch.cat([torch.ones_like(positive), torch.zeros_like(negative)])
    rate = torch.tensor(len(positive) / len(logits), dtype=torch.float64)
    entropy = -(torch.xlogy(rate, rate) + torch.xlogy(1 - rate, 1 - rate))
    return {
        "itm_loss": F.binary_cross_entropy_with_logits(logits, labels),
        "itm_accuracy": ((logits > 0) == (labels > 0)).float().mean(),
        "itm_base_rate_entropy": entropy.float(),
    }
