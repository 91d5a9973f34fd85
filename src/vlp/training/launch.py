"""How a run was launched: one process, or one of several that ``torchrun`` or ``accelerate launch`` started.

The environment says so (WORLD_SIZE, RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT); nothing else has to.

Source: https://docs.pytorch.org/docs/stable/elastic/run.html
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist

from vlp.models.distributed import rank, world
from vlp.recipe import Recipe

PATIENCE = "VLP_PEER_TIMEOUT"
"""The environment variable for how many seconds a process is waited for before it is taken for dead."""


class TrainingError(ValueError):
    """Training cannot go on: a loss is no number, nothing uses a parameter, or another process is gone."""


def join() -> torch.device:
    """Meet the other processes of this run, where there are any; safe to call again.

    Returns:
        The device that this process computes on.
    """
    here = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", here) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        patience = timedelta(seconds=float(os.environ.get(PATIENCE, "300")))
        with lost_peers():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)
        atexit.register(dist.destroy_process_group)
    return device


@contextmanager
def lost_peers() -> Iterator[None]:
    """What torch says when another process died or hangs becomes one line that says so.

    Raises:
        TrainingError: in place of it.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or (world() > 1 and _of_a_peer(str(error))):
            said = " ".join(str(error).split())[:200]
            raise TrainingError(
                f"process {rank()} of {world()}: another process of this run is gone or does not answer ({said}); "
                "start the run again: it goes on from its last checkpoint"
            ) from None
        raise


def _of_a_peer(message: str) -> bool:
    return any(word in message.lower() for word in ("gloo", "nccl", "connection", "timed out", "peer"))


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def require_company(recipe: Recipe, section: str) -> None:
    """Refuse, before anything is trained, a recipe by which a loss that tells the images of a batch apart has only one.

    Its loss would be 0 and its recall 1 from the first step on, whatever the weights.

    Args:
        recipe: of the run.
        section: where it stands in params.yaml.

    Raises:
        ValueError: one pass has fewer than two images, those of all processes together.
    """
    if (images := recipe.batch_size // recipe.accumulate) < 2:
        raise ValueError(
            f"params.yaml: {section}: a contrastive loss tells the images of one pass apart, and batch_size "
            f"{recipe.batch_size} with accumulate {recipe.accumulate} leaves it {images}: raise batch_size, or "
            "lower accumulate"
        )


def precision(wanted: Literal["auto", "fp32", "bf16"]) -> Literal["no", "bf16"]:
    """``bf16`` under autocast, or ``no``: ``auto`` takes it where the processor multiplies it in hardware."""
    if wanted == "auto":
        has_bf16 = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else _cpu_has_bf16()
        return "bf16" if has_bf16 else "no"
    return "bf16" if wanted == "bf16" else "no"


def _cpu_has_bf16() -> bool:
    return torch.cpu.is_available() and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
