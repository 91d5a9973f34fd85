"""What contrastive losses share: a learnt temperature, partners among all of a batch, and targets of several.

Each row is to find its partners among the columns of the whole batch: with several processes, among those of all.
Each process has the logits of its own rows only: together they are the batch's, and none holds more than its share.

Sources: Radford et al. 2021 (CLIP), https://arxiv.org/abs/2103.00020; multi-positive targets as in supervised
contrastive learning, Khosla et al. 2020, https://arxiv.org/abs/2004.11362
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp.models.distributed import gather

MAX_LOGIT_SCALE = float(torch.tensor(math.log(100.0)))
"""CLIP's bound: above it the softmax is one-hot and training unstable. A float32, as the parameter is."""
LEAST_TEMPERATURE = 0.01
"""The same bound, as a temperature."""


def logit_scale(temperature: float) -> nn.Parameter:
    """The learnt logarithm of what cosines are multiplied by. One number, not a scalar: FSDP cannot cut those."""
    return nn.Parameter(torch.tensor([-math.log(temperature)]))


@torch.no_grad()
def bound(logit_scale: nn.Parameter) -> None:
    """Bring the parameter itself back to CLIP's bound, after an optimiser's step: beyond it ``scale`` has no gradient,
    and what has none never comes back.
    """
    logit_scale.clamp_(max=MAX_LOGIT_SCALE)


def scale(logit_scale: Tensor) -> Tensor:
    """What a cosine is multiplied by; of weights that were learnt without ``bound``, no more than it allows."""
    # Unlike clamp's, this has a gradient at the bound itself.
    return torch.where(logit_scale > MAX_LOGIT_SCALE, MAX_LOGIT_SCALE, logit_scale).exp()


def scaled_cosines(scale: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Float32 [N, M] of unit vectors [N, D] and [M, D], under autocast as well.

    In bf16 a logit of 100 is a multiple of a half, and near partners are equally near.
    """
    with torch.autocast(rows.device.type, enabled=False):
        return scale * rows.float() @ columns.float().T


def of_all(rows: Tensor, *, training: bool) -> tuple[Tensor, int]:
    """The rows of the whole batch and where one's own begin, as of ``gather``; where a module is judged, its own.

    What is judged every process judges by itself: all have the same batch, or one has it alone.
    """
    return gather(rows) if training else (rows, 0)


def spread_cross_entropy(logits: Tensor, right: Tensor) -> Tensor:
    """Cross-entropy of each row against the even distribution over its right columns, the mean; of no row 0."""
    target = right / right.sum(-1, keepdim=True)
    return -(target * F.log_softmax(logits, dim=-1)).sum() / max(len(logits), 1)


def same_caption(key: Tensor, image_keys: Tensor) -> Tensor:
    """Bool [N, B]: the caption is, word for word, also a caption of that image, whether drawn for it or not.

    Args:
        key: int64 [N]: equal for equal captions.
        image_keys: int64 [B, C]: those of all captions of each image; −1 where one has fewer than C.
    """
    same_NB = torch.zeros(len(key), len(image_keys), dtype=torch.bool, device=key.device)
    for some in image_keys.unbind(1):  # one by one: [N, B, C] at once is far larger than what is asked for
        same_NB |= key[:, None] == some[None, :]
    return same_NB
