"""What the encoders and the fusion block hand on; shapes by the legend of ``vlp.records``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from vlp.records import Texts


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFeatures:
    """B images (or, after ``index``, N: the image of each text).

    ``tokens`` [B, P, D]: the grid, row by row, as the fusion block wants it (projected and with its
    positions, where the block has any; D is then the width of the fused space). ``pooled`` [B, Dv]:
    the encoder's last map averaged over the grid, Dv its own width (2048 for ResNet-50). ``memory``:
    what the fusion block could compute of ``tokens`` once an image, each with B rows. It is the
    block's own business and saves time only: features without it fuse to the same.
    """

    tokens: Tensor
    pooled: Tensor
    memory: tuple[Tensor, ...] = ()

    def of(self, texts: Texts) -> ImageFeatures:
        """What ``fuse`` wants for these texts.

        The B rows as they are where every image has the same number of consecutive texts, else one row a text.
        """
        # Images at the end of a batch may have no text at all: per_image is then of the others.
        each = texts.per_image * self.tokens.shape[0] == texts.input_ids.shape[0]
        return self if each else self.index(texts.image_index)

    def expand(self, count: int) -> ImageFeatures:
        """One row a text: each of the B rows ``count`` / B times, for blocks that cannot share rows."""
        if self.tokens.shape[0] == count:
            return self
        times = count // self.tokens.shape[0]
        return ImageFeatures(
            tokens=self.tokens.repeat_interleave(times, dim=0),
            pooled=self.pooled.repeat_interleave(times, dim=0),
            memory=tuple(part.repeat_interleave(times, dim=0) for part in self.memory),
        )

    def index(self, image_index: Tensor) -> ImageFeatures:
        """The features of the image that each text belongs to.

        Args:
            image_index: int64 [N], rows of these features.
        """
        # index_select rather than brackets: its backward pass is a plain sum over rows.
        return ImageFeatures(
            tokens=self.tokens.index_select(0, image_index),
            pooled=self.pooled.index_select(0, image_index),
            memory=tuple(part.index_select(0, image_index) for part in self.memory),
        )


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

    ``tokens`` is None where the fusion block has none (``concat_mlp``, ``film``). ``attention``: layer by layer, how
    each text token spread its look over the picture, [N, heads, L, P]; empty where the block has no such maps.
    ``gates``: layer by layer, which places each token counts, before the sigmoid, likewise; empty where none count.
    """

    tokens: Tensor | None
    pooled: Tensor
    attention: tuple[Tensor, ...] = ()
    gates: tuple[Tensor, ...] = ()
