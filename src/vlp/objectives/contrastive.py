"""Image–text contrastive learning (ITC).

Images and texts are projected to one unit sphere, and each is to find its partners among all of the
batch: with several processes, among those of all. Captions repeat, and a caption that is word for word
another image's as well is that image's positive, too, not a false negative: the target is spread evenly
over all that are right. Which those are is told by all captions of an image, not by those drawn for the batch.

Source: Radford et al. 2021, https://arxiv.org/abs/2103.00020; multi-positive targets as in supervised
contrastive learning, Khosla et al. 2020, https://arxiv.org/abs/2004.11362
"""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Prepared
from vlp.models import contrastive
from vlp.models.contrastive import LEAST_TEMPERATURE, of_all, same_caption, scaled_cosines, spread_cross_entropy
from vlp.models.nothing import NOTHING
from vlp.objectives.base import Objective, ObjectiveParams, Sizes, Step


class Params(ObjectiveParams):
    """``pretrain.objectives.contrastive``."""

    width: int = Field(gt=0, description="of the shared embedding space")
    temperature: float = Field(ge=LEAST_TEMPERATURE, le=1, description="at the start; learned from there")


class Head(Objective):
    """Projections of both encoders' pooled features and a learned temperature."""

    losses = ("itc_loss",)
    fuses = False
    compares = True

    def __init__(self, params: Params, prepared: Prepared, sizes: Sizes) -> None:
        super().__init__()
        self.image = nn.Linear(sizes.image, params.width, bias=False)
        self.text = nn.Linear(sizes.text, params.width, bias=False)
        self.logit_scale = contrastive.logit_scale(params.temperature)

    def keep_in_bounds(self) -> None:
        """As of ``vlp.training.engine.Bounded``."""
        contrastive.bound(self.logit_scale)

    def embed_image(self, pooled: Tensor) -> Tensor:
        """Unit vectors [B, width] of pooled image features."""
        return F.normalize(self.image(pooled).float(), dim=-1)

    def embed_text(self, pooled: Tensor) -> Tensor:
        """Unit vectors [N, width] of pooled text features."""
        return F.normalize(self.text(pooled).float(), dim=-1)

    def forward(self, step: Step) -> dict[str, Tensor]:
        scale = contrastive.scale(self.logit_scale)
        own_image = self.embed_image(step.image.pooled)
        own_text = self._own_text(step, own_image)
        text, _ = of_all(own_text, training=self.training)
        image, first_image = of_all(own_image, training=self.training)
        own_key, own_keys = step.batch.targets["caption_key"], step.batch.targets["image_keys"]
        key, _ = of_all(own_key, training=self.training)
        image_keys, _ = of_all(own_keys, training=self.training)
        right_NB = same_caption(own_key, image_keys).to(image.dtype)
        right_MB = same_caption(key, own_keys).to(image.dtype)
        images = slice(first_image, first_image + len(own_image))
        logits_NB, logits_MB = scaled_cosines(scale, own_text, image), scaled_cosines(scale, text, own_image)
        step.similarity = logits_NB[:, images].detach()
        # An image can come without a caption of its own only if none was drawn for it: leave it out.
        has_text = right_MB.sum(0) > 0
        text_loss = spread_cross_entropy(logits_NB, right_NB)
        image_loss = spread_cross_entropy(logits_MB.T[has_text], right_MB.T[has_text])
        return {"itc_loss" if len(text) else NOTHING: (text_loss + image_loss) / 2}

    def _own_text(self, step: Step, own_image: Tensor) -> Tensor:
        """Unit vectors [N, width] of this process's captions; without any, no row, which others still gather."""
        if "positive" in step.batch.texts:
            return self.embed_text(step.text("positive").pooled)
        return own_image.new_empty(0, own_image.shape[1]) + step.nothing(self)
