"""Image–text contrastive learning (ITC).

Images and texts are projected to one unit sphere, and each is to find its partners among all of the
batch: with several processes, among those of all. Captions repeat, and a caption that is word for word
another image's as well is that image's positive, too, not a false negative: the target is spread evenly
over all that are right. Which those are is told by all captions of an image, not by those drawn for the batch.

Source: Radford et al. 2021, https://arxiv.org/abs/2103.00020; multi-positive targets as in supervised
contrastive learning, Khosla et al. 2020, https://arxiv.org/abs/2004.11362
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Prepared
from vlp.models.distributed import gather
from vlp.objectives.base import Objective, ObjectiveParams, Sizes, Step, same_caption

MAX_LOGIT_SCALE = math.log(100.0)  # CLIP's bound: above it the softmax is one-hot and training unstable


class Params(ObjectiveParams):
    """``pretrain.objectives.contrastive``."""

    width: int = Field(gt=0, description="of the shared embedding space")
    temperature: float = Field(gt=0, le=1, description="at the start; learned from there")


class Head(Objective):
    """Projections of both encoders' pooled features and a learned temperature."""

    losses = ("itc_loss",)
    fuses = False
    compares = True

    def __init__(self, params: Params, prepared: Prepared, sizes: Sizes) -> None:
        super().__init__()
        self.image = nn.Linear(sizes.image, params.width, bias=False)
        self.text = nn.Linear(sizes.text, params.width, bias=False)
        # One number, not a scalar: FSDP cannot cut those.
        self.logit_scale = nn.Parameter(torch.tensor([-math.log(params.temperature)]))

    def embed_image(self, pooled: Tensor) -> Tensor:
        """Unit vectors [B, width] of pooled image features."""
        return F.normalize(self.image(pooled).float(), dim=-1)

    def embed_text(self, pooled: Tensor) -> Tensor:
        """Unit vectors [N, width] of pooled text features."""
        return F.normalize(self.text(pooled).float(), dim=-1)

    def forward(self, step: Step) -> dict[str, Tensor]:
        scale = self.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
        own_image = self.embed_image(step.image.pooled)
        own_text = self._own_text(step, own_image)
        # Each process has the logits of its own rows against the texts and images of all: together they are the
        # batch's, and none holds more than its share.
        text, _ = gather(own_text)
        image, first_image = gather(own_image)
        own_key, own_keys = step.batch.targets["caption_key"], step.batch.targets["image_keys"]
        key, _ = gather(own_key)
        image_keys, _ = gather(own_keys)
        right_NB = same_caption(own_key, image_keys).to(image.dtype)
        right_MB = same_caption(key, own_keys).to(image.dtype)
        images = slice(first_image, first_image + len(own_image))
        logits_NB, logits_MB = scale * own_text @ image.T, scale * text @ own_image.T
        step.similarity = logits_NB[:, images].detach()
        # An image can come without a caption of its own only if none was drawn for it: leave it out.
        has_text = right_MB.sum(0) > 0
        text_loss = _spread_cross_entropy(logits_NB, right_NB)
        image_loss = _spread_cross_entropy(logits_MB.T[has_text], right_MB.T[has_text])
        return {"itc_loss": (text_loss + image_loss) / 2}

    def _own_text(self, step: Step, own_image: Tensor) -> Tensor:
        """Unit vectors [N, width] of this process's captions; without any, no row, which others still gather."""
        if "positive" in step.batch.texts:
            return self.embed_text(step.text("positive").pooled)
        return own_image.new_empty(0, own_image.shape[1]) + step.nothing(self)


def _spread_cross_entropy(logits: Tensor, right: Tensor) -> Tensor:
    """Cross-entropy of each row against the even distribution over its right columns, the mean; of no row 0."""
    target = right / right.sum(-1, keepdim=True)
    return -(target * F.log_softmax(logits, dim=-1)).sum() / max(len(logits), 1)
