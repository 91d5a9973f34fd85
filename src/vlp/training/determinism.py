"""Same commit, same machine kind, same bytes."""

from __future__ import annotations

import torch


def seed_everything(seed: int) -> None:
    """Seed torch, and hold it to algorithms that give the same bits each time.

    Raises:
        RuntimeError: later, where an operation has no such algorithm.
    """
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory guards against reading it before it is written, and costs a fifth of a step.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 - torch ships no type for it
