"""The velocity of the flow in pixel space: a small U-Net on patches that looks at the text.

The network says what the picture is, not where the point goes: pictures are simple and noise is not, so that a narrow
network can say the first and never the second. The velocity follows from it.

Sources: U-Net, Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597; cross-attention to the text at the coarse
size, Rombach et al. 2021, https://arxiv.org/abs/2112.10752; saying the picture, Li & He 2025 (JiT),
https://arxiv.org/abs/2511.13720
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp.models.attention import CrossAttention, feed_forward, mask_bias

_WAVES = 64
SPREAD = 0.4
"""Standard deviation of the pixels, −1 to 1, by which points are scaled before the network sees them."""
NEAREST = 0.1
"""Least time that is thought to be left: velocities stay bounded where the picture is all but finished."""


class Residual(nn.Module):
    """Two convolutions beside the identity; time and sentence scale and shift between them.

    Args:
        width: channels.
        condition_width: of time and sentence together.
    """

    def __init__(self, width: int, condition_width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        # Of a batch rather than of groups: a fifth of the cost on a CPU, and nothing at all once exported.
        self.first_norm = nn.BatchNorm2d(width)
        self.modulation = nn.Linear(condition_width, 2 * width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        # At the start time changes nothing, and a block little.
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        nn.init.constant_(self.norm.weight, 0.2)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """[N, width, h, w] and [N, condition_width] → [N, width, h, w]."""
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, dim=1)
        inner = F.relu(self.first_norm(self.first(x)) * (1 + scale) + shift)
        return F.relu(x + self.norm(self.second(inner)))


class Look(nn.Module):
    """Places look at the text, then think. Args: channels of both, a divisor of them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.cross_attention = CrossAttention(width, heads, dropout=0.0)
        self.feed_forward = feed_forward(width, 2.0, dropout=0.0)

    def forward(self, x: Tensor, text: Tensor, bias: Tensor) -> Tensor:
        """[N, width, h, w], [N, L, width] and the text's bias as of ``Attention`` → [N, width, h, w]."""
        places = x.flatten(2).transpose(1, 2)
        told, _ = self.cross_attention(self.norm(places), *self.cross_attention.memory(text), bias)
        places = places + told
        places = places + self.feed_forward(places)
        return places.transpose(1, 2).unflatten(2, x.shape[2:])


class Velocity(nn.Module):
    """Where a point of the flow goes.

    Args:
        size: S, side of the pictures.
        patch: pixels that a place of the finer size is wide; the coarser size has places of twice that.
        text_width: of the text's tokens.
        width: channels at the finer size, twice as many at the coarser one.
        layers: residual blocks at the coarser size, each with a look at the text; as many at the finer size, half on
            the way down and half on the way up.
        heads: of the looks.

    Raises:
        ValueError: the side is no multiple of two patches.
    """

    def __init__(self, *, size: int, patch: int, text_width: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        if size % (2 * patch):
            raise ValueError(
                f"tasks.generation.patch: image.size {size} is no multiple of two patches of {patch} pixels"
            )
        self.patch = patch
        coarse, condition = 2 * width, 2 * width
        self.text = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, coarse))
        self.time = nn.Sequential(nn.Linear(_WAVES, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.enter = nn.Conv2d(3 * patch**2, width, 3, padding=1)
        down = max(layers // 2, 1)
        self.down = nn.ModuleList(Residual(width, condition) for _ in range(down))
        self.shrink = nn.Conv2d(width, coarse, 2, stride=2)
        self.places = nn.Parameter(0.02 * torch.randn(1, coarse, size // patch // 2, size // patch // 2))
        self.coarse = nn.ModuleList(Residual(coarse, condition) for _ in range(layers))
        self.looks = nn.ModuleList(Look(coarse, heads) for _ in range(layers))
        self.grow = nn.Conv2d(coarse, 4 * width, 1)
        self.join = nn.Conv2d(2 * width, width, 1)
        self.up = nn.ModuleList(Residual(width, condition) for _ in range(max(layers - down, 1)))
        self.leave = nn.Conv2d(width, 3 * patch**2, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, points: Tensor, times: Tensor, text: Tensor, attention_mask: Tensor) -> Tensor:
        """Velocity.

        Args:
            points: float32 [N, 3, S, S].
            times: float32 [N], 0 is noise and 1 is data.
            text: tokens of the text encoder, [N, L, Dt].
            attention_mask: int64 [N, L].

        Returns:
            float32 [N, 3, S, S].
        """
        return (self.picture(points, times, text, attention_mask) - points) / left(times)

    def picture(self, points: Tensor, times: Tensor, text: Tensor, attention_mask: Tensor) -> Tensor:
        """The picture that the network takes the points to be on their way to, as of ``forward``."""
        t = times.float()[:, None, None, None]
        points = points * ((t * SPREAD) ** 2 + (1 - t) ** 2).rsqrt()
        tokens = self.text(text)
        bias = mask_bias(attention_mask, tokens.dtype)
        condition = F.silu(self.time(_waves(times)) + tokens[:, 0])
        x = self.enter(F.pixel_unshuffle(points, self.patch))
        for block in self.down:
            x = block(x, condition)
        y = self.shrink(x) + self.places
        for block, look in zip(self.coarse, self.looks, strict=True):
            y = look(block(y, condition), tokens, bias)
        x = self.join(torch.cat([x, F.pixel_shuffle(self.grow(y), 2)], dim=1))
        for block in self.up:
            x = block(x, condition)
        return F.pixel_shuffle(self.leave(x), self.patch).float()


def left(times: Tensor) -> Tensor:
    """The time that is left, [N, 1, 1, 1] of [N], ``NEAREST`` at least."""
    return (1 - times.float()).clamp_min(NEAREST)[:, None, None, None]


def _waves(times: Tensor) -> Tensor:
    """Sines and cosines of [N] times, wavelengths from a tenth to ten times the whole: [N, waves]."""
    rate = 2 * math.pi * torch.exp(torch.linspace(math.log(0.1), math.log(10.0), _WAVES // 2, device=times.device))
    angles = times.float()[:, None] * rate
    return torch.cat([angles.sin(), angles.cos()], dim=1)
