"""What fusion blocks are made of: attention written out, a pre-norm feed-forward block, grid positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention as matrix products and a softmax, over keys and values made elsewhere.

    Written out because the fused kernel's backward pass is slow in bf16 on a CPU at these lengths.
    A forward hook on ``probabilities`` sees the attention map.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.

    Args:
        width: of queries, keys, values and output.
        heads: a divisor of ``width``.
        dropout: share of attention probabilities set to zero in training.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.query = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.probabilities = nn.Dropout(dropout)

    def forward(self, queries: Tensor, keys_values: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            queries: [N, Lq, D].
            keys_values: [B, Lk, 2 D], keys beside values. Where B < N, each row serves N / B
                consecutive rows of queries, which are then one long row: what many texts ask of one
                image is one matrix product, and nothing of the image is copied.
            bias: added to the scores, [N, 1, 1, Lk]: 0 where a key counts, very negative elsewhere;
                only where B = N.

        Returns:
            [N, Lq, D].
        """
        folded = queries.reshape(keys_values.shape[0], -1, queries.shape[2])
        query = self._split(self.query(folded) * self.scale)
        key, value = map(self._split, keys_values.chunk(2, dim=-1))
        scores = query @ key.transpose(2, 3)
        if bias is not None:
            scores = scores + bias.to(scores.dtype)
        mixed = self.probabilities(scores.softmax(dim=-1)) @ value
        return self.output(mixed.transpose(1, 2).flatten(2)).reshape(queries.shape)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class SelfAttention(nn.Module):
    """``Attention`` of a sequence to itself.

    Args:
        width: of the sequence.
        heads: a divisor of ``width``.
        dropout: as in ``Attention``.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.key_value = nn.Linear(width, 2 * width)
        self.attention = Attention(width, heads, dropout)

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """[N, L, D] and its bias [N, 1, 1, L] → [N, L, D]."""
        return self.attention(tokens, self.key_value(tokens), bias)


def feed_forward(width: int, ratio: float, dropout: float) -> nn.Sequential:
    """Norm, widen by ``ratio``, GELU, narrow: the second half of a pre-norm transformer block."""
    inner = round(width * ratio)
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width), nn.Dropout(dropout)
    )


def mask_bias(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Attention bias [N, 1, 1, L] of an attention mask [N, L]: 0 on tokens, the most negative number elsewhere."""
    return (1 - attention_mask[:, None, None, :].to(dtype)) * torch.finfo(dtype).min


class GridEmbedding(nn.Module):
    """Image tokens projected to the fused width, with a learned embedding of their row and of their column.

    Rows and columns apart rather than one table of places: "left of" is then one direction of the
    space, the same wherever the objects stand.

    Args:
        image_width: Dv of the incoming tokens.
        width: D of the outgoing tokens.
        grid: rows and columns.
    """

    def __init__(self, image_width: int, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.project = nn.Linear(image_width, width)
        self.rows = nn.Parameter(torch.randn(grid[0], 1, width) * 0.02)
        self.columns = nn.Parameter(torch.randn(1, grid[1], width) * 0.02)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, P, Dv] → [B, P, D]."""
        return self.norm(self.project(tokens) + (self.rows + self.columns).flatten(0, 1))
