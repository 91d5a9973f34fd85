"""Pictures as grids of codes: every patch of pixels becomes the most similar one of a learned book of patches.

The book is made by k-means on patches of training pictures, in seconds and without any network: a small patch holds an
edge between two colours at most, and a few hundred of them spell every outline. Patches with much contrast are drawn
for it more often, because what tells things apart is at their edges, and most of a picture is ground.

Sources: vector quantisation of pictures by k-means, Linde, Buzo & Gray 1980, https://doi.org/10.1109/TCOM.1980.1094577;
a picture as a grid of codes that a model then writes, van den Oord et al. 2017, https://arxiv.org/abs/1711.00937
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_AT_ONCE = 65536
_LEAST_CONTRAST = 0.02
"""Levels, −1 to 1, that count as contrast where there is none: bare ground must be drawn, too."""


class Codebook(nn.Module):
    """K patches of p × p pixels, which stand for all.

    Args:
        codes: K.
        patch: p.

    Attributes:
        centres: float32 [K, p · p · 3], levels −1 to 1, row by row; zeros before ``fit``.
    """

    centres: Tensor

    def __init__(self, codes: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.register_buffer("centres", torch.zeros(codes, 3 * patch**2))

    def fit(self, images: Tensor, *, patches: int, rounds: int, seed: int) -> None:
        """Make the book by k-means.

        Args:
            images: uint8 [B, S, S, 3].
            patches: drawn from them, by their contrast and none twice.
            rounds: of k-means.
            seed: of what is drawn.

        Raises:
            ValueError: the images have fewer patches than there are codes.
        """
        generator = torch.Generator().manual_seed(seed)
        every = self.patches(images).flatten(0, 2)
        codes = len(self.centres)
        if len(every) < codes:
            raise ValueError(
                f"tasks.generation.codebook.codes: {codes}, but the training pictures have {len(every)} patches"
            )
        # multinomial takes up to 2²⁴ weights; that many patches are more than enough to draw from.
        every = every[torch.randperm(len(every), generator=generator)[: 2**24 - 1]]
        contrast = every.var(1).sqrt() + _LEAST_CONTRAST
        drawn = every[torch.multinomial(contrast, min(patches, len(every)), generator=generator)]
        centres = drawn[torch.randperm(len(drawn), generator=generator)[:codes]].clone()
        for _ in range(rounds):
            nearest = _nearest(drawn, centres)
            count = torch.bincount(nearest, minlength=codes).float()
            total = torch.zeros_like(centres).index_add_(0, nearest, drawn)
            # A code that no patch is nearest to starts anew from any of them.
            anew = drawn[torch.randint(len(drawn), (codes,), generator=generator)]
            centres = torch.where(count[:, None] > 0, total / count.clamp_min(1)[:, None], anew)
        self.centres.copy_(centres)

    def patches(self, images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] → levels −1 to 1, float32 [B, G, G, p · p · 3] with G = S / p."""
        p = self.patch
        levels = self.levels(images).permute(0, 2, 3, 1)
        return levels.unflatten(2, (-1, p)).unflatten(1, (-1, p)).transpose(2, 3).flatten(3)

    @staticmethod
    def levels(images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] → levels −1 to 1, float32 [B, 3, S, S]."""
        return images.permute(0, 3, 1, 2).float() / 127.5 - 1

    def encode(self, images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] → codes int64 [B, G, G]."""
        patches = self.patches(images)
        return _nearest(patches.flatten(0, 2), self.centres).unflatten(0, patches.shape[:3])

    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 [B, G, G] → levels −1 to 1, float32 [B, 3, S, S]."""
        p = self.patch
        patches = self.centres[codes].unflatten(3, (p, p, 3))
        return patches.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


def _nearest(patches: Tensor, centres: Tensor) -> Tensor:
    """Which of [K, V] is nearest to each of [M, V]: int64 [M]."""
    half = 0.5 * centres.square().sum(1)
    return torch.cat([(some @ centres.T - half).argmax(1) for some in patches.split(_AT_ONCE)])
