"""What fusion blocks are made of: attention written out, counting, a pre-norm feed-forward block, grid positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """The core of multi-head attention, matrix products and a softmax; it has no weights of its own.

    Written out because the fused kernel's backward pass is slow in bf16 on a CPU at these lengths.
    Heads stand before tokens and every operand is contiguous, so that no product copies its input.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.

    Args:
        width: of all heads together.
        heads: a divisor of ``width``.
        dropout: share of attention probabilities set to zero in training.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.scale = (width // heads) ** -0.5
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            query: [N, heads, Lq, d].
            key: [N, heads, Lk, d].
            value: [N, heads, Lk, d].
            bias: added to the scores, [N, 1, 1, Lk]: 0 where a key counts, very negative elsewhere.

        Returns:
            What was gathered [N, Lq, heads · d], and from where: the attention map [N, heads, Lq, Lk].
        """
        scores = (query * self.scale) @ key.transpose(2, 3)
        if bias is not None:
            scores = scores + bias.to(scores.dtype)
        probabilities = self.dropout(scores.softmax(dim=-1))
        return (probabilities @ value).transpose(1, 2).flatten(2), probabilities


class SelfAttention(nn.Module):
    """Tokens attend to each other. Args as of ``Attention``."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention = Attention(width, heads, dropout)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """[N, L, D] and a bias as of ``Attention`` → [N, L, D] and the map [N, heads, L, L]."""
        query, key, value = split_heads(self.query_key_value(tokens), 3, self.heads)
        mixed, attention = self.attention(query, key, value, bias)
        return self.output(mixed), attention


class CrossAttention(nn.Module):
    """Tokens attend to keys and values made of others: a text's to an image's, or an image's to a text's.

    Args as of ``Attention``.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.attention = Attention(width, heads, dropout)
        self.output = nn.Linear(width, width)

    def memory(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, each [B, heads, P, d], of image tokens [B, P, D]."""
        key, value = split_heads(self.key_value(image), 2, self.heads)
        return key, value

    def forward(self, tokens: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            tokens: [N, L, D].
            key: [B, heads, P, d]. Where B < N, each row serves N / B consecutive rows of ``tokens``, which
                are then one long row: what many texts ask of one image is one matrix product, and nothing
                of the image is copied.
            value: as ``key``.
            bias: as of ``Attention``, where not every key counts.

        Returns:
            [N, L, D], and the map of which token looked where [N, heads, L, P].
        """
        projected = self.query(tokens)
        if key.shape[0] != tokens.shape[0]:
            projected = projected.reshape(key.shape[0], -1, projected.shape[2])
        (query,) = split_heads(projected, 1, self.heads)
        mixed, attention = self.attention(query, key, value, bias)
        if key.shape[0] != tokens.shape[0]:
            # A copy; where there are no rows to part, the map itself, so that explanations can follow what hangs on it.
            attention = attention.unflatten(2, (-1, tokens.shape[1])).transpose(1, 2).flatten(0, 1)
        return self.output(mixed).reshape(tokens.shape), attention


class Counting(nn.Module):
    """How many things are what a token means? A gate a place and head, summed over the places, never normalised.

    A softmax is an average: of three stars and of one it gathers the same. Here each place of the grid says yes or no
    to each token, and the token is told the sum, as it is and beside each small number, so that *two* is no
    less and no more than a sum between 1.5 and 2.5. What the gates sum to is a number of things once each thing opens
    one place's worth of them, which the grounding objective shows.

    Source: why attention cannot count, and sums of it that can: Zhang et al. 2018, https://arxiv.org/abs/1802.05766.

    Args:
        width: of tokens and places.
        heads: gates a place.
        size: numbers that a token and a place are compared by, a head.
    """

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, size**-0.5
        self.query = nn.Linear(width, heads * size)
        self.key = nn.Linear(width, heads * size)
        # Almost closed at the start: 64 half-open gates would drown any number.
        self.closed = nn.Parameter(torch.full((1, heads, 1, 1), -5.0))
        self.output = nn.Linear(heads * (len(_NUMBERS) + 1), width)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def memory(self, image: Tensor) -> Tensor:
        """What is compared of image tokens [B, P, D]: [B, heads, P, d]."""
        (key,) = split_heads(self.key(image), 1, self.heads)
        return key

    def forward(self, tokens: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Count.

        Args:
            tokens: [N, L, D].
            key: [B, heads, P, d] of ``memory``; rows are shared as in ``CrossAttention``.

        Returns:
            What is added to the tokens [N, L, D], and the gates before the sigmoid [N, heads, L, P].
        """
        projected = self.query(tokens)
        if key.shape[0] != tokens.shape[0]:
            projected = projected.reshape(key.shape[0], -1, projected.shape[2])
        (query,) = split_heads(projected, 1, self.heads)
        scores = (query * self.scale) @ key.transpose(2, 3)
        gates = scores + self.closed.to(scores.dtype)
        counts = gates.sigmoid().sum(-1).transpose(1, 2).unsqueeze(-1)
        beside = [torch.sigmoid(_SHARPNESS * (counts - number)) for number in _NUMBERS]
        told = torch.cat([counts, *beside], dim=-1).flatten(2)
        each = gates.unflatten(2, (-1, tokens.shape[1])).transpose(1, 2).flatten(0, 1)
        return self.output(told).reshape(tokens.shape), each


_NUMBERS = (0.5, 1.5, 2.5, 3.5, 4.5)
"""Few things are told apart one by one, many by their sum alone."""
_SHARPNESS = 6.0


def split_heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """[N, L, parts · D] → ``parts`` contiguous tensors [N, heads, L, d], by one copy."""
    return x.unflatten(2, (parts, heads, -1)).permute(2, 0, 3, 1, 4).contiguous().unbind(0)


def feed_forward(width: int, ratio: float, dropout: float) -> nn.Sequential:
    """Norm, widen by ``ratio``, GELU, narrow: the second half of a pre-norm transformer block."""
    inner = round(width * ratio)
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width), nn.Dropout(dropout)
    )


def mask_bias(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Attention bias [N, 1, 1, L] of an attention mask [N, L]: 0 on tokens, −10⁴ elsewhere.

    That is nothing after the softmax, and finite in every precision: a text without a token stays a number.
    """
    return (attention_mask[:, None, None, :].to(dtype) - 1) * 1e4


def _waves(places: int, width: int) -> Tensor:
    """[places, width]: sines and cosines of the place, of wavelengths from twice the grid down to two places.

    Positions that differ from the start, and alike for neighbours: from near zero they would first have to
    grow before "left of" could mean anything.
    """
    wavelength = 2.0 * (2 * places / 2.0) ** (1 - torch.arange(width // 2) / max(width // 2 - 1, 1))
    angle = 2 * torch.pi * torch.arange(places)[:, None] / wavelength
    return 0.5 * torch.cat([angle.sin(), angle.cos(), torch.zeros(places, width % 2)], dim=1)


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
        self.rows = nn.Parameter(_waves(grid[0], width)[:, None, :])
        self.columns = nn.Parameter(_waves(grid[1], width).flip(1)[None, :, :])
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, P, Dv] → [B, P, D]."""
        projected = self.project(tokens)
        # In the projection's own type: under autocast a float32 sum here would make every later layer cast back.
        return self.norm(projected + (self.rows + self.columns).flatten(0, 1).to(projected.dtype))
