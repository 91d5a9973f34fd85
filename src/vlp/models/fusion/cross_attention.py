"""Text tokens that look at the image: self-attention, cross-attention to the grid, feed-forward, pre-norm.

The cheapest of the blocks with a token grid: ten queries on 64 keys cost far less than 74 tokens in
one stream, and the keys and values of every layer are made once an image, however many texts look at it.
Sources: the multimodal encoder of ALBEF, Li et al. 2021, https://arxiv.org/abs/2107.07651;
pre-norm: Xiong et al. 2020, https://arxiv.org/abs/2002.04745.
"""

from __future__ import annotations

from typing import ClassVar, Self, cast

from pydantic import Field, model_validator
from torch import Tensor, nn

from vlp.models.attention import Counting, CrossAttention, GridEmbedding, SelfAttention, feed_forward, mask_bias
from vlp.models.features import Fused, ImageFeatures, TextFeatures
from vlp.params import Section


class Params(Section):
    """``model.fusion`` of params.yaml with ``name: cross_attention``."""

    hidden: int = Field(ge=1, description="width D of the fused space")
    layers: int = Field(ge=1, description="blocks")
    heads: int = Field(ge=1, description="attention heads a block")
    mlp_ratio: float = Field(gt=0, description="width inside a feed-forward block, in multiples of hidden")
    self_attention: bool = Field(default=True, description="let text tokens see each other between looks at the image")
    dropout: float = Field(ge=0, lt=1, description="of attention probabilities and block outputs")
    counting_heads: int = Field(default=0, ge=0, description="of each block, that sum instead of average; 0: none")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        return self


class Block(nn.Module):
    """One pre-norm block; image tokens come normalised from ``GridEmbedding``."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        width = params.hidden
        self.self_norm = nn.LayerNorm(width) if params.self_attention else None
        self.self_attention = SelfAttention(width, params.heads, params.dropout) if params.self_attention else None
        self.cross_norm = nn.LayerNorm(width)
        self.cross_attention = CrossAttention(width, params.heads, params.dropout)
        counting = params.counting_heads
        self.counting = Counting(width, counting, width // params.heads) if counting else None
        self.dropout = nn.Dropout(params.dropout)
        self.feed_forward = feed_forward(width, params.mlp_ratio, params.dropout)

    def memory(self, image: Tensor) -> tuple[Tensor, ...]:
        """Of image tokens [B, P, D] keys, values and, where the block counts, what it counts by: [B, heads, P, d]."""
        counted = () if self.counting is None else (self.counting.memory(image),)
        return *self.cross_attention.memory(image), *counted

    def forward(
        self, text: Tensor, bias: Tensor, key: Tensor, value: Tensor, counted: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """[N, L, D], [N, 1, 1, L] and the image's ``memory`` → [N, L, D], map [N, heads, L, P], gates likewise."""
        if self.self_attention is not None and self.self_norm is not None:
            heard, _ = self.self_attention(self.self_norm(text), bias)
            text = text + self.dropout(heard)
        asked = self.cross_norm(text)
        seen, attention = self.cross_attention(asked, key, value)
        gates: Tensor | None = None
        if self.counting is not None and counted is not None:
            number, gates = self.counting(asked, counted)
            seen = seen + number
        text = text + self.dropout(seen)
        return text + self.feed_forward(text), attention, gates


class Fusion(nn.Module):
    """Text tokens fused with the image grid; ``pooled`` is the first one.

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
        self.blocks = nn.ModuleList(Block(params) for _ in range(params.layers))
        self.norm = nn.LayerNorm(self.width)

    def embed_image(self, image: ImageFeatures) -> ImageFeatures:
        """What can be done once an image, however many texts look at it.

        Returns:
            ``tokens`` [B, P, D]; ``memory``: of each block, as of ``Block.memory``.
        """
        tokens = self.image_embedding(image.tokens)
        return ImageFeatures(tokens=tokens, pooled=image.pooled, memory=self._memory(tokens))

    def forward(self, text: TextFeatures, attention_mask: Tensor, image: ImageFeatures) -> Fused:
        """Fuse.

        Args:
            text: tokens [N, L, Dt].
            attention_mask: int64 [N, L].
            image: embedded; N rows, or B where each serves N / B consecutive texts.

        Returns:
            ``tokens`` [N, L, D], ``pooled`` [N, D], ``attention`` and, where the blocks count, ``gates``.
        """
        tokens = self.text_projection(text.tokens)
        bias = mask_bias(attention_mask, tokens.dtype)
        memory = image.memory or self._memory(image.tokens)
        each = len(memory) // len(self.blocks)
        maps: list[Tensor] = []
        gates: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            tokens, attention, opened = block(tokens, bias, *memory[number * each : (number + 1) * each])
            maps.append(attention)
            gates += [] if opened is None else [opened]
        tokens = self.norm(tokens)
        return Fused(tokens=tokens, pooled=tokens[:, 0], attention=tuple(maps), gates=tuple(gates))

    def _memory(self, tokens: Tensor) -> tuple[Tensor, ...]:
        blocks = cast("list[Block]", list(self.blocks))
        return tuple(part for block in blocks for part in block.memory(tokens))
