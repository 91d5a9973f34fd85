"""The loss of a batch that has nothing to teach."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

NOTHING = "nothing_loss"
"""The name of such a loss where a module returns one in the place of its own: it is summed with the others for its
gradients, and no figure, so that means are over the batches that have something to teach.
"""


def nothing(tensors: Iterable[Tensor]) -> Tensor:
    """Zero, and so is its gradient: but every one of ``tensors`` has one.

    What several processes train must have the same gradients in each, whichever batch had something to teach.
    """
    return 0.0 * torch.stack([each.sum() for each in tensors]).sum()
