"""What several processes of one run know of each other: who they are, and sums and gathers that gradients pass.

With one process everything here is the identity, so that no caller asks how it was launched.

Sources: local loss with gathered features, Ilharco et al. 2021 (OpenCLIP), https://doi.org/10.5281/zenodo.5143773;
batch statistics over processes, Peng et al. 2018, https://arxiv.org/abs/1711.07240.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if world() > 1 else 0


class _Sum(torch.autograd.Function):
    """The sum over processes; each process's gradient is the sum of all, since each used the same sum."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total


class _Gather(torch.autograd.Function):
    """Rows of every process, one below the other; each gets back the gradients that all have for its rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return _gathered(rows, counts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total.split(ctx.counts)[rank()], None


def _gathered(rows: Tensor, counts: list[int]) -> Tensor:
    # Collectives want equal shapes: pad to the longest, then cut.
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def gather(rows: Tensor) -> tuple[Tensor, int]:
    """The rows of every process, in the order of ranks, and where this one's begin.

    Gradients of the gathered rows flow back to the process that they came from. With gradients averaged over
    processes, a loss of one's own rows against all rows is then the loss of the whole batch.

    Args:
        rows: [N, …]; N may differ from process to process.
    """
    if world() == 1:
        return rows, 0
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    sizes = [int(count) for count in counts]
    whole = _Gather.apply(rows, sizes) if rows.requires_grad else _gathered(rows, sizes)
    return whole, sum(sizes[: rank()])


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics are of all processes' images. torch's own does it on a GPU only."""

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, h, w] → the same shape."""
        if not self.training or world() == 1:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        x = input.float()
        totals = _Sum.apply(torch.cat([x.sum((0, 2, 3)), x.new_tensor([x.numel() / x.shape[1]])]))
        count = totals[-1].detach()
        mean = totals[:-1] / count
        # In a second pass: the difference of two large numbers would lose what the variance is.
        variance = _Sum.apply((x - mean[:, None, None]).square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        shift = self.bias - mean * scale if self.affine else -mean * scale
        return (x * scale[:, None, None] + shift[:, None, None]).to(input.dtype)


def share_batch_statistics(module: nn.Module, device: torch.device) -> None:
    """Let every batch normalisation of ``module`` see the images of all processes.

    In place, the parameters and buffers stay those that they are.
    """
    if world() == 1:
        return
    kind = nn.SyncBatchNorm if device.type == "cuda" else BatchNorm
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                shared = kind(child.num_features, child.eps, child.momentum, child.affine).to(device)
                shared.weight, shared.bias = child.weight, child.bias
                for buffer in ("running_mean", "running_var", "num_batches_tracked"):
                    setattr(shared, buffer, getattr(child, buffer))
                setattr(parent, name, shared.train(child.training))
