"""Exact resume: a run that was killed goes on from its last checkpoint to the very weights it would have had.

What a checkpoint holds is all that the next step follows from: weights and buffers, the optimiser's moments, the step
(schedule and batches follow from it), the random numbers of each process, the sums of the row that is being
averaged, and what was written so far. A run may have phases, one ``fit`` each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vlp.models.distributed import rank, world
from vlp.training.checkpoints import Checkpoint, Checkpoints, fingerprint
from vlp.training.launch import is_first, join, lost_peers
from vlp.training.memory import fill, whole


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


@dataclass(slots=True)
class Trained:
    """What is being trained, as checkpoints see it."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    history: History
    sums: dict[str, Tensor]
    step: int = 0


class Run:
    """One run of a stage, over all its phases.

    Args:
        checkpoints: where it is kept; of this very run.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._saved: Checkpoint | None = checkpoints.latest()
        self._done: list[dict[str, Any]] = self._saved.values["done"] if self._saved else []
        self._phase = -1

    @classmethod
    def open(cls, name: str, module: nn.Module, params: Iterable[Any], data: Path) -> Run:
        """The run ``name`` of a stage, to be begun or gone on with.

        Args:
            name: of the stage, and of the task.
            module: as it is before the first step.
            params: the sections that the run reads.
            data: the folder of prepared shards.
        """
        join()
        mark = fingerprint(module, params, data, world())
        with lost_peers():
            if is_first():
                Checkpoints.of(name, mark)  # removes those of other runs, before anyone looks
            if world() > 1:
                dist.barrier()
            return cls(Checkpoints.of(name, mark))

    def begin(self) -> History | None:
        """Begin the next phase; if it was finished before the run was killed, what it left behind."""
        self._phase += 1
        if self._phase < len(self._done):
            return History(**self._done[self._phase])
        return None

    def restore(self, trained: Trained) -> None:
        """Bring ``trained`` to where the phase that has begun was, if it was in it."""
        if self._saved is None or self._saved.values["phase"] != self._phase:
            return
        tensors, values = self._saved.tensors, self._saved.values
        for name, tensor in _tensors(trained.module):
            fill(tensor, tensors["weights"][name])
        _restore_moments(trained, tensors["optimizer"])
        trained.history.rows = values["history"]["rows"]
        trained.history.examples, trained.history.seconds = values["history"]["examples"], values["history"]["seconds"]
        own = values["sums"][rank()]
        trained.sums.update({name: torch.tensor(value, dtype=torch.float64) for name, value in own.items()})
        trained.step = values["step"]
        torch.set_rng_state(tensors["random"][f"cpu.{rank()}"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random"][f"cuda.{rank()}"])
        self._saved = None

    def save(self, trained: Trained) -> None:
        """Write a checkpoint; all processes together, the first one writes."""
        tensors = {
            "weights": {name: whole(tensor.detach()) for name, tensor in _tensors(trained.module)},
            "optimizer": _moments(trained),
            "random": _random_numbers(),
        }
        values = {
            "phase": self._phase,
            "step": trained.step,
            "done": self._done,
            "history": asdict(trained.history),
            "sums": _every_process({name: float(value) for name, value in trained.sums.items()}),
        }
        if is_first():
            self._checkpoints.save(self._phase, trained.step, tensors, values)

    def end(self, history: History) -> None:
        """The phase is over."""
        self._done = [*self._done[: self._phase], asdict(history)]

    def finish(self) -> None:
        """The stage has written its outs: the checkpoints have done their work."""
        if is_first():
            self._checkpoints.remove()


def _every_process(own: dict[str, float]) -> list[dict[str, float]]:
    """What each process has summed, in the order of their ranks; repr of a float64 and back is exact."""
    found = [own] * world()
    if world() > 1:
        dist.all_gather_object(found, own)
    return found


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers by name, a shared one once."""
    return [*module.named_parameters(), *module.named_buffers()]


def _named(trained: Trained) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in trained.module.named_parameters() if parameter.requires_grad}


def _moments(trained: Trained) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": whole(value)
        for name, parameter in _named(trained).items()
        for key, value in trained.optimizer.state[parameter].items()
    }


def _restore_moments(trained: Trained, moments: dict[str, Tensor]) -> None:
    parameters = _named(trained)
    for place, saved in moments.items():
        name, key = place.rsplit("/", 1)
        parameter = parameters[name]
        if key == "step":
            value = saved.to(parameter.device)
        else:
            value = torch.zeros_like(parameter) if saved.shape == parameter.shape else torch.zeros_like(saved)
            fill(value, saved)
        trained.optimizer.state[parameter][key] = value


def _random_numbers() -> dict[str, Tensor]:
    """The state of torch's generators in every process."""
    own = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        own["cuda"] = torch.cuda.get_rng_state()
    if world() == 1:
        return {f"{kind}.0": state for kind, state in own.items()}
    device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
    found: dict[str, Tensor] = {}
    for kind, state in own.items():
        parts = [torch.empty_like(state, device=device) for _ in range(world())]
        dist.all_gather(parts, state.to(device))
        found |= {f"{kind}.{number}": part.cpu() for number, part in enumerate(parts)}
    return found
