"""One trial: ``dvc exp run`` in a process group of its own, watched as it learns, and ended where it does not pay."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from vlp import births, commands, worktrees
from vlp.files import write_json

WATCH = "VLP_WATCH"
"""As ``vlp.training.held_out`` reads it: where training writes a line each time that it looks at validation."""
_POLL = 0.5
_PATIENCE = 10.0
"""Seconds that a process group has to end by itself."""


class TrialError(ValueError):
    """A trial of before stands in the way."""


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
    written = _written(place)  # by training at its end; DVC takes an earlier one away before it begins
    last: dict[str, float] = {}
    with (place.notes / f"{name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=place.worktree, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        _remember(place, process.pid)
        try:
            for last in _looks(watched, process):
                if prune(last) and not written.exists():  # else it has ended, and DVC is recording it
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


def _written(place: Place) -> Path:
    return place.worktree / worktrees.METRICS_FOLDER / "finetune" / f"{place.task}.json"


def _figures(look: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in look.items() if name != "step"}


def _save_pruned(place: Place, name: str, last: dict[str, float]) -> None:
    """Record what was seen of a pruned trial as an experiment, too: its parameters and its last look.

    ``dvc exp save`` refuses a stage whose outs are not there. An experiment is a commit that a ref below ``refs/exps``
    names (https://dvc.org/doc/user-guide/experiment-management), and that git can make.
    """
    metrics = _written(place)
    write_json(metrics, {"pruned_at_step": last["step"], "validation": _figures(last)})
    identity = {"NAME": "vlp tune", "EMAIL": "tune@localhost"}
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in identity.items()}
    with tempfile.TemporaryDirectory() as folder:  # an index of its own: the worktree's stays as it is
        env = commands.environment(GIT_INDEX_FILE=str(Path(folder) / "index"), **who)

        def git(*arguments: str) -> str:
            return commands.output(place.worktree, "git", *arguments, env=env).strip()

        head = git("rev-parse", "HEAD")
        git("read-tree", head)
        git("add", "--force", "--", worktrees.PARAMS_FILE, str(metrics.relative_to(place.worktree)))
        made = git("commit-tree", git("write-tree"), "-p", head, "-m", f"{name}: ended early")
        git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", made)


def end(pid: int) -> None:
    """End the process group that ``pid`` leads.

    What the leader, DVC, has started goes first: DVC then takes its stage for failed, and puts its own locks away.
    """
    for process in _group(pid):
        if process.pid != pid:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
    for sign in (0, signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _PATIENCE
        while _group(pid) and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, sign)
            time.sleep(0.1)


def _group(pid: int) -> list[psutil.Process]:
    """The group's processes, those apart that are merely waiting to be collected."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _remembered(place: Place) -> Path:
    return place.notes / "running.json"


def _remember(place: Place, pid: int) -> None:
    write_json(_remembered(place), {"pid": pid, "born": births.of(pid)})


def end_leftover(place: Place) -> None:
    """End the trial of a search that was killed outright, should it still run.

    Raises:
        TrialError: an earlier version remembered it, and such a process runs: nobody can tell whether it is the trial.
    """
    path = _remembered(place)
    if not path.exists():
        return
    left = json.loads(path.read_text(encoding="utf-8"))
    if "born" not in left:
        if psutil.pid_exists(left["pid"]):
            raise TrialError(
                f"{path}: process {left['pid']} may be a trial that an earlier version left running: end it if so, and "
                "remove the file"
            )
        path.unlink()
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        if births.of(left["pid"]) == left["born"]:
            end(left["pid"])
    path.unlink()
