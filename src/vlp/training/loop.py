"""The one training loop: pre-training and every task, on a CPU, a GPU or several, killed and gone on with.

A module that is trained maps a ``Batch`` to named scalars; those whose name ends in ``_loss`` are
losses (weighted by ``weights``) and summed, once; the rest is reported. The loop knows nothing else
of what it trains.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import chain, islice

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import get_scheduler

from vlp.data.loading import Plans, to_device
from vlp.data.prefetch import prefetched
from vlp.models.distributed import rank, world
from vlp.models.nothing import NOTHING
from vlp.progress import track
from vlp.recipe import Recipe
from vlp.records import Batch
from vlp.training.engine import Engine, check_losses
from vlp.training.launch import TrainingError, is_first, join, lost_peers, precision
from vlp.training.optimizer import Rates
from vlp.training.resume import History, Run, Trained

_COUNT = "/count"


def fit(
    module: nn.Module,
    batches: DataLoader[Batch],
    recipe: Recipe,
    weights: Mapping[str, float] | None = None,
    *,
    what: str = "steps",
    rates: Rates | None = None,
    watch: Callable[[int], None] | None = None,
    run: Run | None = None,
) -> History:
    """Train ``module`` in place over ``batches``, one optimiser step each. Afterwards it is on the device it came from:
    a GPU trains, and whoever judges finds the weights where data is, on the CPU that serves as well.

    Args:
        module: maps a ``Batch`` to named scalars.
        batches: ``recipe.steps`` of them; where several processes or passes share each, planned by ``Plans``.
        recipe: optimiser, schedule, precision.
        weights: of the losses by name; 1 where it says nothing.
        what: the progress line's noun.
        rates: as of ``optimizer.optimizer``.
        watch: told the number of steps done in the first process, wherever a row of the curve is written.
        run: what this is a phase of: where its checkpoints are, and where it was killed before.

    Raises:
        TrainingError: a loss or a weight is not finite, a parameter gets no gradient at the first step, the batches
            cannot be shared, or another process of the run is gone.
    """
    if run is not None and (finished := run.begin()) is not None:
        return finished
    device, home = join(), _device(module)
    with lost_peers():
        engine = Engine(module, recipe, weights or {}, rates, device)
        # What transformers calls constant has no warm-up.
        name = "constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule
        schedule = get_scheduler(name, engine.optimizer, round(recipe.warmup_share * recipe.steps), recipe.steps)
        trained = Trained(engine.module, engine.optimizer, History(), {})
        if world() > 1:  # what is drawn in a forward pass differs from process to process
            torch.manual_seed(torch.initial_seed() + rank())
        if run is not None:
            run.restore(trained)
        _resume_schedule(schedule, trained.step)
        with engine.ready():
            _loop(engine, schedule, _shared(batches, recipe, trained.step), trained, what, watch, run)
        module.to(home)
    if run is not None:
        run.end(trained.history)
    return trained.history


def _loop(
    engine: Engine,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    batches: Iterable[Batch],
    trained: Trained,
    what: str,
    watch: Callable[[int], None] | None,
    run: Run | None,
) -> None:
    recipe, history = engine.recipe, trained.history
    clock = _Clock(history)
    with closing(prefetched(batches, engine.device)) as stream:
        for step in _told(range(trained.step, recipe.steps), what):
            parts = list(islice(stream, recipe.accumulate))
            if len(parts) < recipe.accumulate:
                raise TrainingError(f"step {step}: there are no more batches; {recipe.steps} steps were asked for")
            found = engine.step(parts, step)
            _add(trained.sums, found)
            trained.step = step + 1
            rate = float(schedule.get_last_lr()[0])
            schedule.step()
            clock.tick(sum(len(batch.images) for batch in parts) * world())
            if trained.step % recipe.log_every == 0 or trained.step == recipe.steps:
                history.rows.append(_row(trained, rate))
                trained.sums.clear()
                if watch is not None:
                    engine.bring_back()
                    if is_first():
                        watch(trained.step)
            if run is not None and recipe.save_every and _due(trained.step, recipe):
                clock.stop()
                # A run that goes on from what is no number would never become one again.
                _checked_means(trained)
                engine.check_weights(step)
                run.save(trained)
    clock.stop()
    engine.check_weights(recipe.steps - 1)


def _device(module: nn.Module) -> torch.device:
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def _due(step: int, recipe: Recipe) -> bool:
    return step % recipe.save_every == 0 or step == recipe.steps


class _Clock:
    """Counts images and seconds into a history, the first step (which warms up) left out."""

    def __init__(self, history: History) -> None:
        self._history, self._since = history, 0.0

    def tick(self, images: int) -> None:
        if self._since:
            self._history.examples += images
            self.stop()
        else:
            self._since = time.perf_counter()

    def stop(self) -> None:
        if self._since:
            now = time.perf_counter()
            self._history.seconds += now - self._since
            self._since = now


def _shared(batches: DataLoader[Batch], recipe: Recipe, first: int) -> DataLoader[Batch]:
    """The same batches from step ``first`` on, this process's part of each."""
    if isinstance(batches.sampler, Plans):
        batches.sampler.share(first=first, rank=rank(), world=world(), passes=recipe.accumulate)
    elif world() > 1 or recipe.accumulate > 1 or first:
        raise TrainingError("only batches that Plans planned can be shared among processes and passes, or resumed")
    return batches


def _resume_schedule(schedule: torch.optim.lr_scheduler.LambdaLR, step: int) -> None:
    """Bring the schedule to where it is after so many steps."""
    if step:
        schedule.last_epoch = step
        rates = [base * share(step) for base, share in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
        for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        schedule._last_lr = rates


def _told(steps: range, what: str) -> Iterator[int]:
    """The steps, with progress in the first process."""
    yield from track(steps, what) if is_first() else steps


def _add(sums: dict[str, Tensor], parts: list[dict[str, Tensor]]) -> None:
    for scalars in parts:
        for name, value in scalars.items():
            if name == NOTHING:  # of a batch that had nothing to teach: no figure
                continue
            # In float64, on the device: a number fetched every step would make a GPU wait.
            sums[name] = sums[name] + value.double() if name in sums else value.double()
            # Each has a count of its own: not every batch can tell everything.
            times = name + _COUNT
            sums[times] = sums[times] + 1 if times in sums else torch.ones((), dtype=torch.float64)


def _row(trained: Trained, learning_rate: float) -> dict[str, float]:
    """A row of the curve. All processes together."""
    means = {name: round(value, 6) for name, value in _checked_means(trained).items()}
    return {"step": trained.step, "learning_rate": learning_rate, **means}


def _checked_means(trained: Trained) -> dict[str, float]:
    """Means over what was summed, in all processes; a loss among them that is not finite ends the run in each."""
    own = {name: float(value) for name, value in trained.sums.items()}
    every: list[dict[str, float]] = [own]
    if world() > 1:
        every = [{} for _ in range(world())]
        dist.all_gather_object(every, own)
    means = _means({name: sum(each.get(name, 0.0) for each in every) for name in dict.fromkeys(chain(*every))})
    check_losses(means, trained.step - 1)
    return means


def _means(sums: Mapping[str, float]) -> dict[str, float]:
    return {name: value / sums[name + _COUNT] for name, value in sums.items() if not name.endswith(_COUNT)}


@torch.no_grad()
def average(module: nn.Module, batches: Iterable[Batch], recipe: Recipe) -> dict[str, float]:
    """The mean of every named scalar over the ``batches`` that have it, without training: for held-out data.

    ``module`` stays on the device that it came on: it may be in the middle of being trained.
    """
    device, home = join(), _device(module)
    module.to(device).eval()
    sums: dict[str, Tensor] = {}
    with torch.autocast(device.type, torch.bfloat16, enabled=precision(recipe.precision) == "bf16"):
        for batch in batches:
            scalars = module(to_device(batch, device))
            _add(sums, [{name: value.float() for name, value in scalars.items()}])
    module.to(home)
    return _means({name: float(value) for name, value in sums.items()})
