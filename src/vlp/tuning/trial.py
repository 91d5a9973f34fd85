"""One trial: ``dvc exp run`` in a process group of its own, watched as it learns, and ended where it does not pay."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from vlp import worktrees
from vlp.files import write_json

WATCH = "VLP_WATCH"
"""As ``vlp.training.held_out`` reads it: where training writes a line each time that it looks at validation."""
_POLL = 0.5
_PATIENCE = 10.0
"""Seconds that a process group has to end by itself."""


@dataclass(frozen=True, slots=True)
class Ended:
    """``validation``: what training measured at its end, or at the last look before it was ``pruned``. ``error``: the
    last line of a run that failed.
    """

    validation: dict[str, float]
    pruned: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the trials of one search run: ``worktree``, and ``notes``, the folder of their logs."""

    project: Path
    worktree: Path
    notes: Path
    task: str


def run(place: Place, name: str, values: dict[str, Any], prune: Callable[[dict[str, float]], bool]) -> Ended:
    """Run one experiment of DVC's.

    Args:
        place: where.
        name: the experiment's.
        values: dotted name in params.yaml → value.
        prune: told each look at validation (``step`` and figures); true ends the trial.
    """
    watched = place.notes / f"{name}.jsonl"
    watched.unlink(missing_ok=True)
    worktrees.restore(place.worktree)
    settings = [part for key, value in values.items() for part in ("--set-param", f"{key}={json.dumps(value)}")]
    command = ["dvc", "exp", "run", "--name", name, *settings, f"finetune@{place.task}"]
    environment = {**worktrees.environment(place.worktree), WATCH: str(watched.resolve())}
    last: dict[str, float] = {}
    with (place.notes / f"{name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=place.worktree, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        _remember(place, process.pid)
        try:
            for last in _looks(watched, process):
                if prune(last):
                    end(process.pid)
                    process.wait()  # DVC takes the locks of a process that is not yet collected for held
                    _save_pruned(place, name, last)
                    return Ended(_figures(last), pruned=True)
        finally:
            end(process.pid)
            process.wait()
            _remembered(place).unlink(missing_ok=True)
    if process.returncode:
        lines = (place.notes / f"{name}.log").read_text(encoding="utf-8").split("\n")
        told = [line for line in lines if line.strip()]
        wrong = [line for line in told if line.lower().startswith("error:")]
        return Ended(_figures(last), error=(wrong or told or ["no word"])[0])
    written = place.worktree / worktrees.METRICS_FOLDER / "finetune" / f"{place.task}.json"
    return Ended(json.loads(written.read_text(encoding="utf-8"))["validation"])


def _looks(path: Path, process: subprocess.Popen[bytes]) -> Iterator[dict[str, float]]:
    """The lines of ``path`` as they come, until the process has ended and all are read."""
    seen = 0
    while True:
        ended = process.poll() is not None
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()  # the last line may be half-written
        for line in whole[seen:]:
            yield json.loads(line)
        seen = len(whole)
        if ended:
            return
        time.sleep(_POLL)


def _figures(look: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in look.items() if name != "step"}


def _save_pruned(place: Place, name: str, last: dict[str, float]) -> None:
    """Record what was seen of a pruned trial as an experiment, too: its parameters and its last look."""
    metrics = place.worktree / worktrees.METRICS_FOLDER / "finetune" / f"{place.task}.json"
    write_json(metrics, {"pruned_at_step": last["step"], "validation": _figures(last)})
    worktrees.dvc(place.worktree, "exp", "save", "--force", "--name", name, capture=True)


def end(pid: int) -> None:
    """End the process group that ``pid`` leads: DVC first gets time to let go of its locks."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                os.killpg(pid, sign)
            except (ProcessLookupError, PermissionError):
                return
            if not _alive(pid):
                return
            time.sleep(0.1)


def _alive(group: int) -> bool:
    """Whether the group has a process that is not merely waiting to be collected."""
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return False


def _remembered(place: Place) -> Path:
    return place.notes / "running.json"


def _remember(place: Place, pid: int) -> None:
    write_json(_remembered(place), {"pid": pid, "created": round(psutil.Process(pid).create_time(), 2)})


def end_leftover(place: Place) -> None:
    """End the trial of a search that was killed outright, should it still run."""
    path = _remembered(place)
    if not path.exists():
        return
    left = json.loads(path.read_text(encoding="utf-8"))
    if psutil.pid_exists(left["pid"]) and round(psutil.Process(left["pid"]).create_time(), 2) == left["created"]:
        end(left["pid"])
    path.unlink()
