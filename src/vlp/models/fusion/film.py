"""Convolution blocks whose channels the text scales and shifts: feature-wise linear modulation.

Coordinate maps let a convolution know where it is; the global maximum over the grid asks whether the
statement holds anywhere, which a mean would wash out.

Sources: Perez et al. 2018, https://arxiv.org/abs/1709.07871; global max-pooling and what it learns and
does not: Kuhnle et al. 2018, https://arxiv.org/abs/1809.04482.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.models.features import Fused, ImageFeatures, TextFeatures
from vlp.params import Section


class Params(Section):
    """``model.fusion`` of params.yaml with ``name: film``."""

    hidden: int = Field(ge=1, description="channels of the blocks and width D of the fused space")
    layers: int = Field(ge=1, description="blocks")
    dropout: float = Field(ge=0, lt=1, description="of the fused vector")


class Block(nn.Module):
    """Coordinates and 1×1 convolution, 3×3 convolution, norm, the text's scale and shift, residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width + 2, width, kernel_size=1)
        self.conv = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        # Scale and shift are the text's; the norm has none of its own.
        self.norm = nn.BatchNorm2d(width, affine=False)

    def forward(self, maps: Tensor, coordinates: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """[N, D, h, w], [1, 2, h, w], [N, D] and [N, D] → [N, D, h, w]."""
        mixed = F.relu(self.mix(_beside(maps, coordinates)))
        normed = self.norm(self.conv(mixed))
        return mixed + F.relu(torch.addcmul(shift[:, :, None, None], normed, scale[:, :, None, None]))


class Fusion(nn.Module):
    """The image's maps modulated by the pooled text, then the maximum over the grid; no fused tokens.

    Args:
        params: sizes.
        image_width: Dv of the image tokens.
        text_width: Dt of the pooled text.
        grid: rows and columns of image tokens.
    """

    uses_pooler: ClassVar[bool] = False
    has_tokens: ClassVar[bool] = False

    def __init__(self, params: Params, *, image_width: int, text_width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.width = width = params.hidden
        self.grid = grid
        self.stem = nn.Sequential(
            nn.Conv2d(image_width + 2, width, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.ModuleList(Block(width) for _ in range(params.layers))
        self.modulation = nn.Linear(text_width, 2 * width * params.layers)
        self.classifier = nn.Sequential(
            nn.Conv2d(width + 2, width, kernel_size=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.output = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(params.dropout))
        self.register_buffer("coordinates", torch.empty(1, 2, *grid), persistent=False)
        self.coordinates: Tensor
        self.reset_buffers()

    @torch.no_grad()
    def reset_buffers(self) -> None:
        """Fill the buffer that no checkpoint holds: columns and rows from −1 to 1."""
        rows, columns = (torch.linspace(-1, 1, size) for size in self.grid)
        self.coordinates.copy_(torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None])

    def embed_image(self, image: ImageFeatures) -> ImageFeatures:
        """What can be done once an image, however many texts look at it: ``tokens`` [B, P, D]."""
        maps = self.stem(_beside(self._maps(image.tokens), self.coordinates))
        return ImageFeatures(tokens=maps.flatten(2).transpose(1, 2), pooled=image.pooled)

    def forward(self, text: TextFeatures, attention_mask: Tensor, image: ImageFeatures) -> Fused:
        """Fuse.

        Args:
            text: pooled [N, Dt].
            attention_mask: not used; the text encoder has.
            image: embedded; N rows, or B where each serves N / B consecutive texts.

        Returns:
            ``pooled`` [N, D]; ``tokens`` is None.
        """
        maps = self._maps(image.expand(text.pooled.shape[0]).tokens)
        modulation = self.modulation(text.pooled).chunk(2 * len(self.blocks), dim=1)
        for block, scale, shift in zip(self.blocks, modulation[::2], modulation[1::2], strict=True):
            # 1 + scale: a text that says nothing leaves the maps as they are.
            maps = block(maps, self.coordinates, 1 + scale, shift)
        found = self.classifier(_beside(maps, self.coordinates)).amax(dim=(2, 3))
        return Fused(tokens=None, pooled=self.output(found))

    def _maps(self, tokens: Tensor) -> Tensor:
        return tokens.transpose(1, 2).unflatten(2, self.grid)


def _beside(maps: Tensor, coordinates: Tensor) -> Tensor:
    """Coordinates as two more channels of each map."""
    return torch.cat([maps, coordinates.to(maps.dtype).expand(maps.shape[0], -1, -1, -1)], dim=1)
