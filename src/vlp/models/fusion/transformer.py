"""One stream: text tokens and image tokens in one sequence, each sees all.

Sources: VisualBERT, Li et al. 2019, https://arxiv.org/abs/1908.03557; ViLT's type embeddings, Kim et
al. 2021, https://arxiv.org/abs/2102.03334; pre-norm: Xiong et al. 2020, https://arxiv.org/abs/2002.04745.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vlp.models.attention import GridEmbedding, SelfAttention, feed_forward, mask_bias
from vlp.models.features import Fused, ImageFeatures, TextFeatures
from vlp.params import Section


class Params(Section):
    """``model.fusion`` of params.yaml with ``name: transformer``."""

    hidden: int = Field(ge=1, description="width D of the fused space")
    layers: int = Field(ge=1, description="blocks")
    heads: int = Field(ge=1, description="attention heads a block")
    mlp_ratio: float = Field(gt=0, description="width inside a feed-forward block, in multiples of hidden")
    dropout: float = Field(ge=0, lt=1, description="of attention probabilities and block outputs")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        return self


class Block(nn.Module):
    """One pre-norm block of self-attention and feed-forward."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(params.hidden)
        self.attention = SelfAttention(params.hidden, params.heads, params.dropout)
        self.dropout = nn.Dropout(params.dropout)
        self.feed_forward = feed_forward(params.hidden, params.mlp_ratio, params.dropout)

    def forward(self, tokens: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """[N, L + P, D] and [N, 1, 1, L + P] → [N, L + P, D] and the map [N, heads, L + P, L + P]."""
        heard, attention = self.attention(self.norm(tokens), bias)
        tokens = tokens + self.dropout(heard)
        return tokens + self.feed_forward(tokens), attention


class Fusion(nn.Module):
    """Text and image tokens in one transformer; ``tokens`` are the text's, ``pooled`` is the first one.

    Image tokens carry learned rows and columns; text tokens come with BERT's positions inside.

    Args:
        params: sizes.
        image_width: Dv of the image tokens.
        text_width: Dt of the text tokens.
        grid: rows and columns of image tokens.
    """

    uses_pooler: ClassVar[bool] = False
    has_tokens: ClassVar[bool] = True

    def __init__(self, params: Params, *, image_width: int, text_width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.width = params.hidden
        self.image_embedding = GridEmbedding(image_width, params.hidden, grid)
        self.text_projection = nn.Identity() if text_width == self.width else nn.Linear(text_width, self.width)
        self.text_type = nn.Parameter(torch.randn(self.width) * 0.02)
        self.image_type = nn.Parameter(torch.randn(self.width) * 0.02)
        self.blocks = nn.ModuleList(Block(params) for _ in range(params.layers))
        self.norm = nn.LayerNorm(self.width)

    def embed_image(self, image: ImageFeatures) -> ImageFeatures:
        """What can be done once an image, however many texts look at it: ``tokens`` [B, P, D]."""
        return ImageFeatures(tokens=self.image_embedding(image.tokens) + self.image_type, pooled=image.pooled)

    def forward(self, text: TextFeatures, attention_mask: Tensor, image: ImageFeatures) -> Fused:
        """Fuse.

        Args:
            text: tokens [N, L, Dt].
            attention_mask: int64 [N, L].
            image: embedded; N rows, or B where each serves N / B consecutive texts.

        Returns:
            ``tokens`` [N, L, D], ``pooled`` [N, D] and ``attention``: of what a text token gives to all tokens, the
            part that goes to places.
        """
        count, length = attention_mask.shape
        words = self.text_projection(text.tokens) + self.text_type
        places = image.expand(count).tokens
        tokens = torch.cat([words, places.to(words.dtype)], dim=1)
        mask = torch.cat([attention_mask, attention_mask.new_ones(count, places.shape[1])], dim=1)
        bias = mask_bias(mask, tokens.dtype)
        maps: list[Tensor] = []
        for block in self.blocks:
            tokens, attention = block(tokens, bias)
            maps.append(attention[:, :, :length, length:])
        words = self.norm(tokens[:, :length])
        return Fused(tokens=words, pooled=words[:, 0], attention=tuple(maps))
