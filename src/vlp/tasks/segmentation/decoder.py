"""From a coarse grid, fine maps and what the text says of the image to one logit a pixel.

Places of the grid ask the fused text what is wanted (cross-attention), the fused sentence scales and shifts their
channels (FiLM), the encoder's finer maps join in on the way back to the picture's size. What helps most is where the
text looked when it was fused (``hints``).

Sources: lateral connections, Lin et al. 2017 (FPN), https://arxiv.org/abs/1612.03144; FiLM, Perez et al. 2018,
https://arxiv.org/abs/1709.07871; both under the direction of a text, Lüddecke & Ecker 2022 (CLIPSeg),
https://arxiv.org/abs/2112.10003; a product with pixel vectors, Cheng et al. 2021 (MaskFormer),
https://arxiv.org/abs/2107.06278
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp.models.attention import CrossAttention, feed_forward, mask_bias
from vlp.models.features import Fused

PIXEL_WIDTH = 16
"""Numbers that say what a pixel is like, whatever is asked."""


class Scale(NamedTuple):
    """One size of an image encoder's maps: rows and columns, channels."""

    size: tuple[int, int]
    channels: int


class Step(nn.Module):
    """One size of the climb: convolve, normalise, let the sentence scale and shift the channels.

    Args:
        width: channels.
        text_width: of the sentence.
    """

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.film = nn.Linear(text_width, 2 * width)
        # At the start the sentence changes nothing.
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, sentence: Tensor) -> Tensor:
        """[N, width, h, w] and [N, text_width] → [N, width, h, w]."""
        scale, shift = self.film(sentence)[:, :, None, None].chunk(2, dim=1)
        return F.relu(self.norm(self.conv(x)) * (1 + scale) + shift)


class Round(nn.Module):
    """One round at the coarsest size: places look at the text, think, then look at their neighbours.

    Args:
        width: of the places and of the text's tokens.
        sentence_width: of the sentence.
        heads: a divisor of ``width``.
    """

    def __init__(self, width: int, sentence_width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.look = CrossAttention(width, heads, dropout=0.0)
        self.feed_forward = feed_forward(width, 2.0, dropout=0.0)
        self.step = Step(width, sentence_width)

    def forward(self, x: Tensor, text: Tensor, bias: Tensor | None, sentence: Tensor) -> Tensor:
        """[N, width, h, w], [N, L, width], a bias as of ``Attention`` and [N, sentence_width] → [N, width, h, w]."""
        places = x.flatten(2).transpose(1, 2)
        told, _ = self.look(self.norm(places), *self.look.memory(text), bias)
        places = places + told
        places = places + self.feed_forward(places)
        seen = places.transpose(1, 2).unflatten(2, x.shape[2:])
        return seen + self.step(seen, sentence)


def hints(fused: Fused, attention_mask: Tensor) -> Tensor | None:
    """Where texts looked when they were fused with their images.

    Pre-training taught words to look at what they name; that is most of what segmentation has to know, and nothing
    else in the fused features says it by place. Each head of each layer gives a place two numbers: the mean over the
    words of the logarithm of its attention (what *all* words look at) and the maximum of it (what *some* word does).

    Args:
        fused: of N texts.
        attention_mask: of these texts, int64 [N, L].

    Returns:
        [N, 2 · heads of all layers, P], or None where the fusion block has no attention to places.
    """
    if not fused.attention:
        return None
    seen = torch.cat(fused.attention, dim=1)
    seen = seen * seen.shape[3]  # 1 where it is spread evenly, whatever the grid
    mask = attention_mask[:, None, :, None].to(seen.dtype)
    everywhere = ((seen + 0.05).log() * mask).sum(2) / mask.sum(2).clamp_min(1)
    return torch.cat([everywhere, 0.25 * (seen * mask).amax(2)], dim=1)


class Decoder(nn.Module):
    """Masks of N texts from the maps of their images.

    Two sizes are decoded for each text: the encoder's grid, where it is settled what is meant, and the next finer map,
    each place of which ends in a vector. Every pixel has a vector, too, which knows the picture only; a pixel's logit
    is the product of its own and its place's. So what is done at full size is done once an image.

    Args:
        scales: of the maps that ``embed`` is given, finest first; the first are the pixels themselves.
        image_width: of the tokens of the fused space.
        text_width: of the fused tokens and of the fused sentence.
        width: channels at the grid; half as many at the finer size.
        rounds: at the grid.
        heads: of the attention in each.
        looks: numbers that ``hints`` gives of a place.
    """

    def __init__(
        self,
        scales: Sequence[Scale],
        *,
        image_width: int,
        text_width: int,
        width: int,
        rounds: int,
        heads: int,
        looks: int,
    ) -> None:
        super().__init__()
        self.sizes = [scale.size for scale in scales]
        self.grid_map = nn.Conv2d(scales[-1].channels, width, 1)
        # The tokens of the fused space know their places, as what the fused text says of places refers to them.
        self.tokens = nn.Linear(image_width, width)
        self.hint = nn.Conv2d(looks, width, 1) if looks else None
        self.text = nn.Linear(text_width, width)
        self.rounds = nn.ModuleList(Round(width, text_width, heads) for _ in range(rounds))
        self.coarse_logit = nn.Conv2d(width, 1, 1)
        # A network that has no map between pixels and grid is decoded at the grid alone.
        self.finer = max(len(scales) - 2, 1)
        fine = width // 2
        self.fine_map = nn.Conv2d(scales[self.finer].channels, fine, 1)
        self.narrow = nn.Conv2d(width, fine, 1)
        self.step = Step(fine, text_width)
        self.place = nn.Conv2d(fine, PIXEL_WIDTH + 1, 1)
        self.lateral = nn.ModuleList(
            nn.Conv2d(scale.channels, PIXEL_WIDTH, 3, padding=1) for scale in scales[: self.finer]
        )
        self.pixel_norm = nn.BatchNorm2d(PIXEL_WIDTH)
        self.pixel = nn.Conv2d(PIXEL_WIDTH, PIXEL_WIDTH, 3, padding=1)

    def embed(self, maps: Sequence[Tensor], tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is the same for every text about an image.

        Args:
            maps: of B images, finest first.
            tokens: of the fused space, [B, P, D].

        Returns:
            Of the grid [B, width, h, w], of the next finer map, and of each pixel [B, PIXEL_WIDTH, S, S].
        """
        placed = self.tokens(tokens).transpose(1, 2).unflatten(2, self.sizes[-1])
        pixels = self.lateral[0](maps[0])
        for lateral, each in zip(self.lateral[1:], maps[1:], strict=False):
            pixels = pixels + F.interpolate(lateral(each), size=self.sizes[0], mode="nearest")
        pixels = self.pixel(F.relu(self.pixel_norm(pixels)))
        return self.grid_map(maps[-1]) + placed, self.fine_map(maps[self.finer]), pixels

    def forward(self, embedded: Sequence[Tensor], fused: Fused, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            embedded: as of ``embed``, N rows each.
            fused: of the N texts with their images.
            attention_mask: int64 [N, L].

        Returns:
            Logits, float32 [N, S, S], and those at the grid, [N, h, w]: which places, before any detail.
        """
        tokens, bias = fused.tokens, None
        if tokens is None:  # a block that joins pooled features: the sentence is all there is to look at
            tokens = fused.pooled[:, None]
        else:
            bias = mask_bias(attention_mask, tokens.dtype)
        x, fine, pixels = embedded
        looks = hints(fused, attention_mask)
        if self.hint is not None and looks is not None:
            x = x + self.hint(looks.unflatten(2, self.sizes[-1]))
        tokens = self.text(tokens)
        for each in self.rounds:
            x = each(x, tokens, bias, fused.pooled)
        coarse = self.coarse_logit(x)
        above = F.interpolate(self.narrow(x), size=self.sizes[self.finer], mode="nearest")
        fine = self.step(fine + above, fused.pooled)
        place = F.interpolate(self.place(fine), size=self.sizes[0], mode="nearest")
        logits = (place[:, :PIXEL_WIDTH] * pixels).sum(1) + place[:, PIXEL_WIDTH]
        return logits.float(), coarse.squeeze(1).float()
