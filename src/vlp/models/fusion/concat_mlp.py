"""Pooled image beside pooled text, through an MLP: the field's tutorial model.

ResNet-50 and BERT-base in front, ``hidden: [512]`` and one logit with binary cross-entropy behind make it
exactly: concatenate 2048 and 768 → Linear(→ 512) → ReLU → Dropout → Linear(→ 1). It has no token to show where
it looked, and no place for relations between places: the baseline that the other blocks are held against.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from vlp.models.features import Fused, ImageFeatures, TextFeatures
from vlp.params import Section


class Params(Section):
    """``model.fusion`` of params.yaml with ``name: concat_mlp``."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        min_length=1, description="width of each layer; the last is D of the fused space"
    )
    dropout: float = Field(ge=0, lt=1, description="after each layer")


class Fusion(nn.Module):
    """Concatenate, then Linear, ReLU and Dropout for each width of ``hidden``; no fused tokens.

    Args:
        params: sizes.
        image_width: Dv of the pooled image.
        text_width: Dt of the pooled text, which is BERT's ``pooler_output``.
        grid: not used.
    """

    uses_pooler: ClassVar[bool] = True
    has_tokens: ClassVar[bool] = False

    def __init__(self, params: Params, *, image_width: int, text_width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.width = params.hidden[-1]
        widths = [image_width + text_width, *params.hidden]
        self.mlp = nn.Sequential()
        for before, after in pairwise(widths):
            self.mlp.extend([nn.Linear(before, after), nn.ReLU(), nn.Dropout(params.dropout)])

    def embed_image(self, image: ImageFeatures) -> ImageFeatures:
        """The features as they are."""
        return image

    def forward(self, text: TextFeatures, attention_mask: Tensor, image: ImageFeatures) -> Fused:
        """Fuse.

        Args:
            text: pooled [N, Dt].
            attention_mask: not used; the text encoder has.
            image: pooled [N, Dv], or B rows where each serves N / B consecutive texts.

        Returns:
            ``pooled`` [N, D]; ``tokens`` is None.
        """
        pooled = image.expand(text.pooled.shape[0]).pooled
        return Fused(tokens=None, pooled=self.mlp(torch.cat([pooled, text.pooled], dim=1)))
