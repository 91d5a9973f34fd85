"""What the encoders and the fusion block hand on; shapes by the legend of ``vlp.records``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFeatures:
    """B images (or, after ``index``, N: the image of each text).

    ``tokens`` [B, P, D]: the grid, row by row, as the fusion block wants it (projected and with its
    positions, where the block has any; D is then the width of the fused space). ``pooled`` [B, Dv]:
    the encoder's last map averaged over the grid, Dv its own width (2048 for ResNet-50).
    """

    tokens: Tensor
    pooled: Tensor

    def index(self, image_index: Tensor) -> ImageFeatures:
        """The features of the image that each text belongs to.

        Args:
            image_index: int64 [N], rows of these features.
        """
        return ImageFeatures(tokens=self.tokens[image_index], pooled=self.pooled[image_index])


@dataclass(frozen=True, kw_only=True, slots=True)
class TextFeatures:
    """N texts: ``tokens`` [N, L, Dt], the encoder's last states, and ``pooled`` [N, Dt].

    ``pooled`` is BERT's ``pooler_output`` (dense and tanh over the first state) where the fusion block
    asks for it, as ``concat_mlp`` does; elsewhere it is the first token's state, as in ALBEF and BLIP.
    """

    tokens: Tensor
    pooled: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Fused:
    """N pairs: ``tokens`` [N, L, D], the texts' tokens having seen the image, and ``pooled`` [N, D].

    ``tokens`` is None where the fusion block has none (``concat_mlp``, ``film``).
    """

    tokens: Tensor | None
    pooled: Tensor
