"""The one training loop: pre-training and every task, on whatever accelerate finds.

A module that is trained maps a ``Batch`` to named scalars; those whose name ends in ``_loss`` are
losses (weighted by ``weights``) and summed here, once; the rest is reported. The loop knows nothing else
of what it trains.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import get_scheduler

from vlp.data.loading import to_device
from vlp.progress import track
from vlp.recipe import Recipe
from vlp.records import Batch


class TrainingError(ValueError):
    """Training cannot go on: a loss that is no number, or a parameter that nothing uses."""


@dataclass(slots=True)
class History:
    """What a run leaves behind: one row a ``log_every`` steps, and how fast it went."""

    rows: list[dict[str, float]] = field(default_factory=list)
    examples: int = 0
    seconds: float = 0.0

    @property
    def examples_per_second(self) -> float:
        """Images a second, the first step (which warms up) left out."""
        return self.examples / self.seconds if self.seconds else 0.0


def precision(wanted: Literal["auto", "fp32", "bf16"]) -> Literal["no", "bf16"]:
    """What accelerate is to be told: ``auto`` takes bf16 where the processor multiplies it in hardware."""
    if wanted == "auto":
        has_bf16 = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else _cpu_has_bf16()
        return "bf16" if has_bf16 else "no"
    return "bf16" if wanted == "bf16" else "no"


def _cpu_has_bf16() -> bool:
    return torch.cpu.is_available() and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


Rates = Callable[[str], float]
"""A parameter's learning rate by its name, in parts of the recipe's."""


def parameter_groups(
    module: nn.Module, weight_decay: float, learning_rate: float, rates: Rates | None = None
) -> list[dict[str, object]]:
    """Matrices decay; biases, norms and embeddings do not (they are no interactions of features).

    Args:
        module: what is trained; frozen parameters are in no group.
        weight_decay: of the matrices.
        learning_rate: at the top of the schedule.
        rates: the share of it that each parameter gets; 1 for all if None.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    embeddings = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decay = 0.0 if parameter.ndim < 2 or id(parameter) in embeddings else weight_decay
            groups.setdefault((rates(name) if rates else 1.0, decay), []).append(parameter)
    return [
        {"params": groups[rate, decay], "weight_decay": decay, "lr": learning_rate * rate}
        for rate, decay in sorted(groups, reverse=True)  # the full rate first: it is the one that curves show
    ]


def total_loss(scalars: Mapping[str, Tensor], weights: Mapping[str, float], step: int) -> Tensor:
    """The weighted sum of everything named ``…_loss``.

    Raises:
        TrainingError: one of them is not finite; the message names it, its value and the step.
    """
    losses = {name: value for name, value in scalars.items() if name.endswith("_loss")}
    total = torch.stack([weights.get(name, 1.0) * value for name, value in losses.items()]).sum()
    if not torch.isfinite(total):
        found = ", ".join(f"{name}={float(value.detach()):g}" for name, value in losses.items())
        raise TrainingError(f"step {step}: the loss is not a finite number ({found}); lower learning_rate")
    return total


def fit(
    module: nn.Module,
    batches: DataLoader[Batch],
    recipe: Recipe,
    weights: Mapping[str, float] | None = None,
    *,
    what: str = "steps",
    rates: Rates | None = None,
    watch: Callable[[int], None] | None = None,
) -> History:
    """Train ``module`` in place over ``batches``, one optimiser step each.

    Args:
        module: maps a ``Batch`` to named scalars.
        batches: ``recipe.steps`` of them.
        recipe: optimiser, schedule, precision.
        weights: of the losses by name; 1 where it says nothing.
        what: the progress line's noun.
        rates: as of ``parameter_groups``.
        watch: told the number of steps done, wherever a row of the curve is written.

    Raises:
        TrainingError: a loss is not finite, or a parameter gets no gradient at the first step.
    """
    accelerator = Accelerator(mixed_precision=precision(recipe.precision))
    module.to(accelerator.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    groups = parameter_groups(module, recipe.weight_decay, recipe.learning_rate, rates)
    optimizer = torch.optim.AdamW(groups, betas=recipe.betas, fused=True)
    schedule = get_scheduler(recipe.schedule, optimizer, round(recipe.warmup_share * recipe.steps), recipe.steps)
    wrapped, optimizer = accelerator.prepare(module, optimizer)
    history = History()
    sums: defaultdict[str, float] = defaultdict(float)
    start = 0.0
    for step, batch in enumerate(track(batches, what, recipe.steps)):
        batch = to_device(batch, accelerator.device)
        scalars = wrapped(batch)
        accelerator.backward(total_loss(scalars, weights or {}, step))
        if step == 0:
            _check_used(module)
        accelerator.clip_grad_norm_(module.parameters(), recipe.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _add(sums, scalars)
        if (step + 1) % recipe.log_every == 0 or step + 1 == recipe.steps:
            history.rows.append(_row(step + 1, sums, schedule.get_last_lr()[0]))
            sums.clear()
            if watch is not None:
                watch(step + 1)
        schedule.step()
        if step == 0:
            start = time.perf_counter()
        else:
            history.examples += len(batch.images) * accelerator.num_processes
    history.seconds = time.perf_counter() - start
    return history


def _check_used(module: nn.Module) -> None:
    unused = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    if unused:
        raise TrainingError(
            f"{len(unused)} parameters get no gradient from any loss: {', '.join(unused[:5])}"
            f"{', …' if len(unused) > 5 else ''}; remove what they belong to, or freeze them"
        )


def _add(sums: defaultdict[str, float], scalars: Mapping[str, Tensor]) -> None:
    sums["count"] += 1
    for name, value in scalars.items():
        sums[name] += float(value.detach())


def _row(step: int, sums: Mapping[str, float], learning_rate: float) -> dict[str, float]:
    means = {name: round(value / sums["count"], 6) for name, value in sums.items() if name != "count"}
    return {"step": step, "learning_rate": learning_rate, **means}


@torch.no_grad()
def average(module: nn.Module, batches: Iterable[Batch], recipe: Recipe) -> dict[str, float]:
    """The mean of every named scalar over ``batches``, without training: for held-out data."""
    accelerator = Accelerator(mixed_precision=precision(recipe.precision))
    module.eval()
    sums: defaultdict[str, float] = defaultdict(float)
    with accelerator.autocast():
        for batch in batches:
            _add(sums, module(to_device(batch, accelerator.device)))
    return {name: value / sums["count"] for name, value in sums.items() if name != "count"}
