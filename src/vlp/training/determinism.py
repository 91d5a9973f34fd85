"""Same commit, same machine kind, same bytes."""

from __future__ import annotations

import os

import torch


def seed_everything(seed: int) -> None:
    """Seed torch, and hold it to algorithms that give the same bits each time.

    On a GPU a few backward passes (of max-pooling, of bilinear resizing) have none: there torch warns and goes on.

    Raises:
        RuntimeError: later, on a CPU, where an operation has no such algorithm.
    """
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # Filling fresh memory guards against reading it before it is written, and costs a fifth of a step.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 - torch ships no type for it
