"""Trading time for memory: activations computed again, weights in parts.

Sources: Chen et al. 2016, https://arxiv.org/abs/1604.06174; Zhao et al. 2023 (FSDP), https://arxiv.org/abs/2304.11277
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.checkpoint import checkpoint

from vlp.models.distributed import world


def blocks(module: nn.Module) -> list[nn.Module]:
    """The repeated parts of a network: outermost items of its lists and sequences that are made of parts themselves."""
    found: list[nn.Module] = []
    for child in module.children():
        repeated = isinstance(module, (nn.ModuleList, nn.Sequential)) and any(True for _ in child.children())
        found += [child] if repeated else blocks(child)
    return found


@contextmanager
def recomputing(module: nn.Module, wanted: bool) -> Iterator[None]:
    """Within it, the blocks of ``module`` keep their inputs only, and run again in the backward pass.

    Those that are compiled must be so before: a compiler that met the second run inside of what it compiles would
    make one graph of both.
    """
    chosen = blocks(module) if wanted else []
    compiled = {block: block._compiled_call_impl for block in chosen if block._compiled_call_impl is not None}
    for block in chosen:
        again = partial(checkpoint, use_reentrant=False, context_fn=partial(_contexts, block))
        if block in compiled:
            block._compiled_call_impl = partial(again, compiled[block])
        else:
            block.forward = partial(again, block.forward)
    try:
        yield
    finally:
        for block in chosen:
            if block in compiled:
                block._compiled_call_impl = compiled[block]
            else:
                del block.forward  # the class's own again


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    return nullcontext(), _settled_statistics(block)


@contextmanager
def _settled_statistics(block: nn.Module) -> Iterator[None]:
    # A batch normalisation that runs a second time has seen no second batch.
    norms = [part for part in block.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone())
              for norm in norms]  # fmt: skip
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if count is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(count)


def sharded(module: nn.Module) -> nn.Module:
    """``module`` with its weights, gradients and, later, optimiser states in parts over all processes."""
    for name in ("image_encoder", "text_encoder"):
        for part in (child for owner, child in module.named_modules() if owner.endswith(name)):
            for block in blocks(part):
                if any(parameter.requires_grad for parameter in block.parameters()):
                    fully_shard(block)
    fully_shard(module)
    return module


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, put together where it is in parts. All processes must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all of them are numbers, in every process. All processes must ask."""
    own = [each.to_local() if isinstance(each, DTensor) else each for each in tensors]
    found = torch.stack([torch.isfinite(each).all() for each in own]).all().float()
    if world() > 1:
        dist.all_reduce(found, dist.ReduceOp.MIN)
    return bool(found)


@torch.no_grad()
def fill(target: Tensor, source: Tensor) -> None:
    """Copy a whole tensor into ``target``, each process its part."""
    if isinstance(target, DTensor):
        source = distribute_tensor(source.to(target.device), target.device_mesh, target.placements)
    target.copy_(source)
