"""The model that writes a picture's codes: place by place, led by a text.

Each place sees the patches right beside and above it at once, through one wide convolution that leaves out what is not
yet written: outlines are continued from there. Attention to all earlier places and to the text says what else there
is, and what shall be. Training sees all places of a picture in one pass; writing takes one place a step and keeps the
keys and values of what came before, those of the text first.

Sources: text to codes to picture, Ramesh et al. 2021 (DALL·E), https://arxiv.org/abs/2102.12092; masked convolutions,
van den Oord et al. 2016, https://arxiv.org/abs/1606.05328; that writing in a fixed order is diffusion which masks one
place a step, Austin et al. 2021, https://arxiv.org/abs/2107.03006
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp.models.attention import SelfAttention, feed_forward, mask_bias, split_heads

UP, SIDE = 4, 4
"""Rows above and columns to either side that the convolution sees."""
_NEVER = -1e4
"""Added to the score of what may not be looked at, as of ``mask_bias``."""

KeyValue = tuple[Tensor, Tensor]
"""Keys and values, [N, heads, T, d] each."""


class Layer(nn.Module):
    """Places attend to a memory (the text; in writing, also what is written) and to each other, then think.

    Args:
        width: D of the places.
        text_width: Dt of the text's tokens.
        heads: a divisor of ``width``.
    """

    def __init__(self, width: int, text_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.text_key_value = nn.Linear(text_width, 2 * width)
        self.output = nn.Linear(width, width)
        self.feed_forward = feed_forward(width, 2.0, dropout=0.0)

    def memory(self, text: Tensor) -> KeyValue:
        """Of the text's tokens [N, L, Dt]."""
        key, value = split_heads(self.text_key_value(text), 2, self.heads)
        return key, value

    def forward(self, x: Tensor, memory: KeyValue, bias: Tensor, own_bias: Tensor | None) -> tuple[Tensor, KeyValue]:
        """Attend and think.

        Args:
            x: [N, T, D].
            memory: [N, heads, M, d] each.
            bias: of the memory, [N, 1, 1, M].
            own_bias: of the places among themselves, [T, T]; None where there is one place.

        Returns:
            [N, T, D], and the places' own keys and values.
        """
        query, key, value = split_heads(self.query_key_value(self.norm(x)), 3, self.heads)
        query = query * self.scale
        own = query @ key.transpose(2, 3)
        if own_bias is not None:
            own = own + own_bias.to(own.dtype)
        there = query @ memory[0].transpose(2, 3)
        look = torch.cat([there + bias.to(there.dtype), own], dim=3).softmax(dim=-1)
        count = memory[0].shape[2]
        mixed = look[..., :count] @ memory[1] + look[..., count:] @ value
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        return x + self.feed_forward(x), (key, value)


class Prior(nn.Module):
    """What is likely at the next place.

    Args:
        codes: K.
        pixels: V, numbers that say what a code looks like.
        grid: G, places a row and rows.
        text_width: Dt of the frozen text encoder's tokens.
        width: D.
        layers: of attention.
        heads: of them; a divisor of ``width`` and of ``text_width``.
    """

    def __init__(
        self, codes: int, *, pixels: int, grid: int, text_width: int, width: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        self.codes = codes
        embedded = max(width // 4, 8)
        self.embedding = nn.Embedding(codes + 1, embedded)
        self.seen = nn.Linear(pixels, embedded, bias=False)
        self.local = nn.Conv2d(embedded, width, (UP + 1, 2 * SIDE + 1))
        written = torch.ones(UP + 1, 2 * SIDE + 1)
        written[UP, SIDE:] = 0
        self.register_buffer("written", written, persistent=False)
        self.places = nn.Parameter(0.1 * torch.randn(grid**2, width))
        self.text_norm = nn.LayerNorm(text_width)
        self.text_attention = SelfAttention(text_width, heads, dropout=0.0)
        self.text_feed_forward = feed_forward(text_width, 2.0, dropout=0.0)
        self.layers = nn.ModuleList(Layer(width, text_width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        # A code is likely for what it looks like, and for itself.
        self.look = nn.Linear(width, pixels)
        self.code = nn.Linear(width, codes)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.normal_(self.seen.weight, std=0.2)
        nn.init.zeros_(self.code.weight)

    def read(self, text: Tensor, attention_mask: Tensor) -> list[KeyValue]:
        """The memory of each layer: the texts' keys and values, [N, heads, L, d] each.

        Args:
            text: tokens of the text encoder, [N, L, Dt].
            attention_mask: int64 [N, L].
        """
        text = self.text_norm(text)
        told, _ = self.text_attention(text, mask_bias(attention_mask, text.dtype))
        text = text + told
        text = text + self.text_feed_forward(text)
        return [layer.memory(text) for layer in self.layers]

    def reading(self, text: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """``read`` as two tensors, [layers, N, heads, L, d] each: what ``step`` begins with."""
        memories = self.read(text, attention_mask)
        return torch.stack([key for key, _ in memories]), torch.stack([value for _, value in memories])

    def forward(self, codes: Tensor, text: Tensor, attention_mask: Tensor, centres: Tensor) -> Tensor:
        """What is likely at every place of pictures that are there, given the places before it.

        Args:
            codes: int64 [N, G, G].
            text: tokens of the text encoder, [N · C, L, Dt]: C texts a picture, told together, one after the other.
            attention_mask: int64 [N · C, L].
            centres: what each code looks like, [K, V].

        Returns:
            Logits float32 [N, G · G, K].
        """
        x = self._enter(F.pad(codes, (SIDE, SIDE, UP, 0), value=self.codes), centres).flatten(2).transpose(1, 2)
        x = x + self.places.to(x.dtype)
        later = torch.full((x.shape[1], x.shape[1]), _NEVER, device=x.device).triu(1).to(x.dtype)
        bias = mask_bias(attention_mask.reshape(len(codes), -1), x.dtype)
        for layer, memory in zip(self.layers, self.read(text, attention_mask), strict=True):
            key, value = (_together(side, len(codes)) for side in memory)
            x, _ = layer(x, (key, value), bias, later)
        return self._leave(x, centres)

    def step(
        self, window: Tensor, place: Tensor, keys: Tensor, values: Tensor, seen: Tensor, centres: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is likely at one place.

        Args:
            window: codes around it, K where there are none, int64 [N, UP + 1, 2 · SIDE + 1].
            place: its number, int64 [N].
            keys: of the text and of all places before, float32 [layers, N, heads, T, d].
            values: likewise.
            seen: int64 [N, T], 0 where there is nothing: a shorter text's padding.
            centres: as of ``forward``.

        Returns:
            Logits float32 [N, K], and the keys and values of this place, [layers, N, heads, d] each.
        """
        x = self._enter(window, centres).flatten(2).transpose(1, 2) + self.places[place][:, None]
        bias = mask_bias(seen, x.dtype)
        own: list[KeyValue] = []
        for number, layer in enumerate(self.layers):
            x, found = layer(x, (keys[number], values[number]), bias, None)
            own.append(found)
        key, value = (torch.stack([each[side].squeeze(2) for each in own]) for side in (0, 1))
        return self._leave(x, centres).squeeze(1), key, value

    def _enter(self, codes: Tensor, centres: Tensor) -> Tensor:
        """Codes with a margin, int64 [N, G + UP, G + 2 · SIDE], as places see them: [N, D, G, G]."""
        table = self.embedding.weight + F.pad(self.seen(centres), (0, 0, 0, 1))
        seen = F.embedding(codes, table).permute(0, 3, 1, 2)
        return F.conv2d(seen, self.local.weight * self.written, self.local.bias)

    def _leave(self, x: Tensor, centres: Tensor) -> Tensor:
        x = self.norm(x)
        return (self.code(x) + F.linear(self.look(x), centres.to(x.dtype))).float()


def _together(side: Tensor, pictures: int) -> Tensor:
    """[N · C, heads, L, d] of C texts a picture → [N, heads, C · L, d]."""
    return side.unflatten(0, (pictures, -1)).transpose(1, 2).flatten(2, 3)
