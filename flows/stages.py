"""The stages of a graph as Prefect tasks: each in its turn, independent ones side by side, DVC deciding what to do."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.states import Completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task

from flows import commands, graph, logged, names
from flows.commands import CommandError
from flows.settings import Settings
from flows.worktree import environment

RUNNER: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=4)
"""Of the flows that run stages: so many at once, where the graph allows."""


TIMING = "timing"
"""The folder below metrics/ with the figures that a clock measured."""
REASON_LINES = 12
"""Of what a stage said last, in the error that it failed."""


class Status(StrEnum):
    """What became of a stage; in Prefect, the name of its task run's state."""

    UP_TO_DATE = "Up to date"
    """``dvc.lock`` records this very code, data and parameters."""
    RESTORED = "Restored"
    """It ran with them before: its outs came from DVC's cache."""
    RAN = "Ran"


class StageError(RuntimeError):
    """A stage failed, for the reason that its last lines give.

    ``passing``: a signal, a lock or the network ended it, and nothing is known of what data and code are worth.
    """

    def __init__(self, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing


class NoDataError(ValueError):
    """Data that a stage reads are not in DVC's cache, so that it would do its work on the rest."""


_PROGRESS = re.compile(r"^(?P<what>[\w -]+): (?P<done>\d+)/(?P<total>\d+), ")


def run(folder: Path, settings: Settings, targets: tuple[str, ...] = ()) -> dict[str, Status]:
    """Bring the stages of the checkout ``folder`` up to date, or those that ``targets`` need.

    Must run within a flow whose task runner has several workers.

    Returns:
        What became of each stage, in the graph's order.

    Raises:
        NoDataError: data of a ``.dvc`` file that a stage is to read are not there.
        StageError: stages failed; what needs them did not run, and its outs, another run's, are removed.
    """
    whole, changed = graph.read(folder)
    part = whole.behind(targets)
    timed = _timed(settings)
    outdated = whole.outdated(changed)
    if notes := sorted({note for stage in outdated & part.needs.keys() for note in whole.missing[stage]}):
        raise NoDataError(
            f"data of {', '.join(notes)} are not in DVC's cache; get them first: dvc fetch {' '.join(notes)}"
        )
    reproduce = _reproduce.with_options(retries=settings.retries, retry_delay_seconds=settings.retry_delay_s)
    futures: dict[str, PrefectFuture[Any]] = {}
    with commands.none_left():
        for stage, needs in part.needs.items():
            futures[stage] = _submit(
                reproduce if stage in outdated else _confirm,
                stage,
                folder,
                stage == timed,
                [futures[need] for need in needs],
            )
        states = {stage: _ended(future) for stage, future in futures.items()}
    if failed := [stage for stage, state in states.items() if state.is_failed() or state.is_crashed()]:
        waiting = [stage for stage, state in states.items() if not state.is_completed() and stage not in failed]
        unmet = f"; not run: {', '.join(waiting)}" if waiting else ""
        for out in (folder / path for stage in waiting for path in whole.outs[stage]):
            shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
        reasons = "\n".join(f"{stage}: {_reason(states[stage])}" for stage in failed)
        raise StageError(
            f"{', '.join(failed)} failed{unmet}\n{reasons}", passing=all(_in_passing(states[stage]) for stage in failed)
        )
    return {stage: Status(state.name) for stage, state in states.items() if state.name}


def _timed(settings: Settings) -> str | None:
    """The stage whose speed the gate judges, by the file that its figure stands in (docs/decisions/0002)."""
    parts = (settings.gate.latency or "").split(".")
    return parts[1] if len(parts) > 1 and parts[0] == TIMING else None


def _submit(
    work: Task[[str, Path, bool], Any], stage: str, folder: Path, timed: bool, needs: list[PrefectFuture[Any]]
) -> Any:
    named: Any = work.with_options(name=stage, task_run_name=stage)
    return named.submit(stage, folder, timed, wait_for=needs)


def _ended(future: PrefectFuture[Any]) -> State[Any]:
    future.wait()
    return future.state


def _reason(state: State[Any]) -> str:
    """The stage's last lines, without DVC's around them."""
    error = state.result(raise_on_failure=False)
    if not isinstance(error, CommandError):
        return state.message or ""
    said = [line for line in error.output.splitlines() if line and not line.startswith("ERROR: failed to reproduce")]
    return "\n".join(said[-REASON_LINES:])


def _in_passing(state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, CommandError) and (error.transient or error.killed)


def _worth_a_retry(_: object, __: TaskRun, state: State[Any]) -> bool:
    """Only what may pass: a lock, the network. What data or code did wrong, it would do again."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, CommandError) and error.transient


@task(cache_policy=NO_CACHE)
def _confirm(_stage: str, _folder: Path, _timed: bool) -> State[Status]:
    """The stage needs nothing; that is shown, too."""
    return Completed(name=Status.UP_TO_DATE.value, data=Status.UP_TO_DATE)


@task(cache_policy=NO_CACHE, retry_condition_fn=_worth_a_retry)
def _reproduce(stage: str, folder: Path, timed: bool) -> State[Status]:
    """Let DVC do with the stage what is to be done, and show each line as it comes."""
    said = _Listener(stage)
    # What a clock measured is no out: restored from the cache, the stage would leave the speed of another run's model.
    command = ["dvc", "--wait-for-lock", "repro", "--single-item", *(["--no-run-cache"] if timed else []), stage]
    commands.run(command, folder, said.line, environment=environment(folder))
    return Completed(name=said.status.value, data=said.status)


@dataclass(slots=True)
class _Listener:
    """Reads a stage's lines: into the log, into a progress bar, and for what DVC says it did."""

    stage: str
    status: Status = Status.UP_TO_DATE
    _bars: dict[str, UUID] = field(default_factory=dict)
    _are_drawn: bool = True

    def line(self, line: str) -> None:
        """Take in one line."""
        if not line:
            return
        get_run_logger().info("%s", line)
        if line.startswith("Running stage "):
            self.status = Status.RAN
        elif " is cached - skipping run" in line:
            self.status = Status.RESTORED
        elif self._are_drawn and (found := _PROGRESS.match(line)):
            # Once that fails it is given up: the stage would wait, line by line, for a server that does not answer.
            self._are_drawn = False
            with logged.only(f"{self.stage}: progress is no longer shown in Prefect"):
                self._bar(found["what"], 100 * int(found["done"]) / max(int(found["total"]), 1), line)
                self._are_drawn = True

    def _bar(self, what: str, percent: float, line: str) -> None:
        if what in self._bars:
            update_progress_artifact(self._bars[what], percent, line)
        else:
            key = names.plain(f"progress-{self.stage}-{what}")
            made = create_progress_artifact(percent, key=key, description=line)
            assert isinstance(made, UUID)  # of a coroutine only where an event loop runs
            self._bars[what] = made
