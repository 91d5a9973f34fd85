"""One optimiser step of any module, on whatever it was launched on: a CPU, a GPU, several, in copies or in parts."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vlp.models.distributed import share_batch_statistics, world
from vlp.recipe import Recipe
from vlp.records import Batch
from vlp.training.compilation import compiled
from vlp.training.launch import TrainingError, precision
from vlp.training.memory import fill, finite, recomputing, sharded, whole
from vlp.training.optimizer import Rates, optimizer

CHECKED_EVERY = 16
"""Steps between two looks of a GPU run at whether its loss is a number: each look waits for the GPU. Rows of the curve,
checkpoints and the end of a run, which wait for it anyway, are looks at all steps since the last row.
"""


@runtime_checkable
class Bounded(Protocol):
    """A part that has parameters with bounds, such as CLIP's temperature."""

    def keep_in_bounds(self) -> None:
        """Bring them back, in place; called after each step of the optimiser."""


def total_loss(scalars: Mapping[str, Tensor], weights: Mapping[str, float], step: int, *, check: bool = True) -> Tensor:
    """The weighted sum of everything named ``…_loss``.

    Raises:
        TrainingError: one of them is not finite, if ``check``: as of ``check_losses``.
    """
    losses = {name: value for name, value in scalars.items() if name.endswith("_loss")}
    total = torch.stack([weights.get(name, 1.0) * value for name, value in losses.items()]).sum()
    if check and not torch.isfinite(total):
        check_losses({name: float(value.detach()) for name, value in losses.items()}, step)
        raise TrainingError(f"step {step}: the sum of all losses is not a finite number; lower learning_rate")
    return total


def check_losses(scalars: Mapping[str, float], step: int) -> None:
    """Look at everything named ``…_loss``: of one step, or means over some.

    Raises:
        TrainingError: one is not finite; the message names all, their values and the step.
    """
    losses = {name: value for name, value in scalars.items() if name.endswith("_loss")}
    if not all(map(math.isfinite, losses.values())):
        found = ", ".join(f"{name}={value:g}" for name, value in losses.items())
        raise TrainingError(f"step {step}: the loss is not a finite number ({found}); lower learning_rate")


class Engine:
    """A module with its optimiser, made ready to be trained.

    Args:
        module: maps a ``Batch`` to named scalars. It is trained in place; in parts (``recipe.shard``), a copy on the
            device is, whose weights ``bring_back`` brings.
        recipe: optimiser, precision, memory.
        weights: of the losses by name.
        rates: as of ``optimizer``.
        device: to compute on.
    """

    def __init__(
        self, module: nn.Module, recipe: Recipe, weights: Mapping[str, float], rates: Rates | None, device: torch.device
    ) -> None:
        self.recipe, self.weights, self.device = recipe, weights, device
        self._original, self._in_parts = module, recipe.shard and world() > 1
        share_batch_statistics(module, device)
        self.module = copy.deepcopy(module) if self._in_parts else module
        # FSDP cuts contiguous weights only; activations are channels_last either way, as the pixels come.
        layout = torch.contiguous_format if self._in_parts else torch.channels_last
        self.module.to(device, memory_format=layout).train()  # type: ignore[call-overload]
        self._forward: Any = sharded(self.module) if self._in_parts else self.module
        self.optimizer = optimizer(self.module, recipe, rates)
        self._parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self._bounded = [part for part in self.module.modules() if isinstance(part, Bounded)]
        self._autocast = precision(recipe.precision) == "bf16"
        if world() > 1 and not self._in_parts:
            ids = [device.index] if device.type == "cuda" else None
            # Batch statistics are shared already; other buffers never change.
            self._forward = DistributedDataParallel(self.module, device_ids=ids, forward_sync_buffers=False)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Train within this; afterwards the original module holds the weights, with its own forward passes."""
        rounded = self.device.type == "cuda" and self.recipe.precision == "auto"
        with (
            compiled(self.module, self.recipe.compile, recompute=self.recipe.recompute),
            recomputing(self.module, self.recipe.recompute),  # around what is compiled
            _tf32() if rounded else nullcontext(),
        ):
            yield
        self.bring_back()

    @torch.no_grad()
    def bring_back(self) -> None:
        """The weights of a copy that is trained in parts, into the original. All processes together."""
        if not self._in_parts:
            return
        trained = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        for name, tensor in (*self._original.named_parameters(), *self._original.named_buffers()):
            fill(tensor, whole(trained[name].detach()))

    def check_weights(self, number: int) -> None:
        """Look at what has been trained, after step ``number``; all processes together. Of a last step whose loss is
        finite and whose gradient is not, nothing else tells.

        Raises:
            TrainingError: a weight is not finite.
        """
        if not finite(self._parameters):
            raise TrainingError(f"step {number}: a weight is not a finite number; lower learning_rate")

    def step(self, parts: Sequence[Batch], number: int) -> list[dict[str, Tensor]]:
        """Take one step on one batch.

        Args:
            parts: of this process's share of the batch: one, or as many as gradients are summed over.
            number: of the step.

        Returns:
            The named scalars of each part.

        Raises:
            TrainingError: a loss is not finite, or, in step 0, a parameter gets no gradient.
        """
        found = []
        check = self.device.type == "cpu" or number % CHECKED_EVERY == 0
        for place, batch in enumerate(parts):
            with self._summing(last=place + 1 == len(parts)):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
                    scalars = {name: value.float() for name, value in self._forward(batch).items()}
                loss = total_loss(scalars, self.weights, number, check=check)
                (loss / len(parts) if len(parts) > 1 else loss).backward()
            found.append({name: value.detach() for name, value in scalars.items()})
        if number == 0:
            _check_used(self.module)
        torch.nn.utils.clip_grad_norm_(self._parameters, self.recipe.gradient_clip)
        self.optimizer.step()
        for part in self._bounded:
            part.keep_in_bounds()
        self.optimizer.zero_grad(set_to_none=True)
        return found

    def _summing(self, *, last: bool) -> AbstractContextManager[None]:
        """Gradients of all parts but the last stay in this process."""
        if self._in_parts:
            self.module.set_requires_gradient_sync(last)  # type: ignore[operator]
        elif world() > 1 and not last:
            return self._forward.no_sync()
        return nullcontext()


@contextmanager
def _tf32() -> Iterator[None]:
    """TF32 for what autocast leaves in float32; the process's own precision comes back for what is measured later."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _check_used(module: nn.Module) -> None:
    unused = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    if unused:
        raise TrainingError(
            f"{len(unused)} parameters get no gradient from any loss: {', '.join(unused[:5])}"
            f"{', …' if len(unused) > 5 else ''}; remove what they belong to, or freeze them"
        )
