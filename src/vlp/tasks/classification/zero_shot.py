"""Classification without training: the label whose prompt is most like the picture.

What fine-tuning is held against. The pre-trained image encoder is kept as it was, beside the one that is trained
further, so that the figure is that of the pre-trained backbone on the very records that the task is measured on.

Source: Radford et al. 2021 (CLIP), prompts for classification, https://arxiv.org/abs/2103.00020
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp.data.loading import pad
from vlp.models.modeling import VLPModel


class ZeroShot(nn.Module):
    """A frozen image encoder and one direction a label in the contrastive objective's space.

    Args:
        model: the backbone as pre-training left it.

    Attributes:
        projection: [W, Dv] of pooled image features; no rows where there was no contrastive objective.
        labels: unit vectors [K, W], the mean over prompts.
        thresholds: [K], of the similarity, where each label is decided by itself.
    """

    projection: Tensor
    labels: Tensor
    thresholds: Tensor

    def __init__(self, model: VLPModel) -> None:
        super().__init__()
        self.image_encoder = copy.deepcopy(model.image_encoder).requires_grad_(False)
        for name in ("projection", "labels", "thresholds"):
            self.register_buffer(name, torch.empty(0))
        self.register_load_state_dict_pre_hook(_sized)

    @property
    def ready(self) -> bool:
        """Whether pre-training left anything to compare with."""
        return self.projection.numel() > 0

    @torch.no_grad()
    def take_over(
        self, head: dict[str, Tensor], model: VLPModel, prompts: Sequence[Sequence[Any]], pad_id: int
    ) -> None:
        """Keep the image's projection, and embed the labels.

        Args:
            head: of the contrastive objective.
            model: the backbone as pre-training left it.
            prompts: for each label the token ids of its prompts.
            pad_id: the tokenizer's ``[PAD]``.
        """
        training = model.training
        model.eval()
        directions = []
        for each in prompts:
            texts = pad(list(each), [0] * len(each), pad_id)
            pooled = model.encode_text(texts.input_ids, texts.attention_mask).pooled.float()
            directions.append(F.normalize(F.normalize(pooled @ head["text.weight"].T, dim=-1).mean(0), dim=0))
        model.train(training)
        self.projection, self.labels = head["image.weight"].clone(), torch.stack(directions)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] → cosines [B, K]."""
        pooled = self.image_encoder(images).pooled.float()
        return F.normalize(pooled @ self.projection.T, dim=-1) @ self.labels.T


def _sized(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    # How wide the shared space is, only what was saved knows.
    for name in ("projection", "labels", "thresholds"):
        if (found := state.get(prefix + name)) is not None:
            setattr(module, name, torch.empty_like(found))
