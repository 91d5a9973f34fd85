"""The model that tells a picture word by word, led by a text.

A picture is a short sentence of its own (``vlp.tasks.generation.book``): a ground, then things and their boxes. Each
place attends to the text and to all places before it. Training sees all places in one pass; telling takes one a step
and keeps the keys and values of what came before, those of the text first.

Sources: text to layout, word by word, Li et al. 2019, https://arxiv.org/abs/1902.10740; text to words of a picture to
picture, Ramesh et al. 2021 (DALL·E), https://arxiv.org/abs/2102.12092; that telling in a fixed order is diffusion which
masks one word a step, Austin et al. 2021, https://arxiv.org/abs/2107.03006
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from vlp.models.attention import SelfAttention, feed_forward, mask_bias, split_heads

_NEVER = -1e4
"""Added to the score of what may not be looked at or told, as of ``mask_bias``."""

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
    """What is likely to be the next word.

    Args:
        legal: which words may stand at which place, bool [P, V].
        text_width: Dt of the frozen text encoder's tokens.
        width: D.
        layers: of attention.
        heads: of them; a divisor of ``width`` and of ``text_width``.
    """

    illegal: Tensor

    def __init__(self, legal: Tensor, *, text_width: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        places, words = legal.shape
        self.start = words
        self.register_buffer("illegal", _NEVER * (~legal).float(), persistent=False)
        self.words = nn.Embedding(words + 1, width)
        self.places = nn.Embedding(places, width)
        self.text_norm = nn.LayerNorm(text_width)
        self.text_attention = SelfAttention(text_width, heads, dropout=0.0)
        self.text_feed_forward = feed_forward(text_width, 2.0, dropout=0.0)
        self.layers = nn.ModuleList(Layer(width, text_width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.next = nn.Linear(width, words)
        for table in (self.words, self.places):
            nn.init.normal_(table.weight, std=0.3)

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
        return [layer.memory(text) for layer in cast("list[Layer]", list(self.layers))]

    def reading(self, text: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """``read`` as two tensors, [layers, N, heads, L, d] each: what ``step`` begins with."""
        memories = self.read(text, attention_mask)
        return torch.stack([key for key, _ in memories]), torch.stack([value for _, value in memories])

    def forward(self, words: Tensor, text: Tensor, attention_mask: Tensor) -> Tensor:
        """What is likely at every place of pictures that are there, given the places before it.

        Args:
            words: int64 [N, P].
            text: tokens of the text encoder, [N, L, Dt].
            attention_mask: int64 [N, L].

        Returns:
            Logits float32 [N, P, V].
        """
        return self.told(words, self.read(text, attention_mask), attention_mask)

    def told(self, words: Tensor, memory: list[KeyValue], attention_mask: Tensor) -> Tensor:
        """``forward``, of texts that were read already: ``memory`` as of ``read``."""
        before = torch.cat([torch.full_like(words[:, :1], self.start), words[:, :-1]], dim=1)
        x = self.words(before) + self.places.weight
        later = torch.full((x.shape[1], x.shape[1]), _NEVER, device=x.device).triu(1)
        bias = mask_bias(attention_mask, x.dtype)
        for layer, known in zip(self.layers, memory, strict=True):
            x, _ = layer(x, known, bias, later)
        return self.next(self.norm(x)).float() + self.illegal

    def step(
        self, word: Tensor, place: Tensor, keys: Tensor, values: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is likely at one place.

        Args:
            word: the one before it, int64 [N]; V at the first place.
            place: its number, int64 [N].
            keys: of the text and of all places before, float32 [layers, N, heads, T, d].
            values: likewise.
            seen: int64 [N, T], 0 where there is nothing: a shorter text's padding.

        Returns:
            Logits float32 [N, V], and the keys and values of this place, [layers, N, heads, d] each.
        """
        x = (self.words(word) + self.places(place))[:, None]
        bias = mask_bias(seen, x.dtype)
        own: list[KeyValue] = []
        for number, layer in enumerate(self.layers):
            x, found = layer(x, (keys[number], values[number]), bias, None)
            own.append(found)
        key, value = (torch.stack([each[side].squeeze(2) for each in own]) for side in (0, 1))
        return self.next(self.norm(x)).squeeze(1).float() + self.illegal[place], key, value
