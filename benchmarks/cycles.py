"""Retraining cycles with nobody there: data that arrives good and bad, and everything that dies on the way.

`make up` runs in a project of its own. A cycle puts data into the watched folder, does its mischief, and waits until
the flows have come to a conclusion by themselves: the event of ``arrivals`` starts ``retrain``, the keeper starts again
what was killed. Then the state is looked at from outside. What was found is kept cycle by cycle: a series can go on.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dvc.api
import httpx
import psutil

from flows import cleanup, incoming, processes
from flows.registry import Registry, Version
from flows.retrain import PREDICTIONS
from flows.serving import Site
from flows.settings import load
from flows.standing import FOLDER
from flows.worktree import CACHE_LOCK, RUNS, git

PATIENCE_S = 1800
ASK_EVERY_S = 45
POLL_S = 0.5
TASK, METRIC_KEY = "matching", ("record", "caption")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What the cycles run on: a project, and how to change its data, its parameters and its settings."""

    project: Path
    arrive: Callable[..., None]
    """``arrive(batches, bad=False)``: the watched folder then holds the first batch and so many more."""
    skill: Callable[[int], object]
    """Commit parameters of level 0, 1 or 2: each a surely better model than the one below."""
    deploys: Callable[[bool], object]
    """Commit settings with which a version can be served, or cannot."""
    stage: str
    """Part of the command line of a stage that takes some time: the moment to kill something."""
    refusing: str
    """The same of the stage that bad data fail in: nothing comes after it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cycle:
    """``what`` happens, and the outcomes that are right; ``level`` is that of new parameters."""

    what: str
    right: tuple[str, ...] = ("refused", "promoted")
    level: int | None = None
    bad: bool = False
    arrives: bool = True
    kill: tuple[str, ...] = ()
    deploys: bool = True


MORE = Cycle(what="more data")
BAD = Cycle(what="a bad batch", right=("failed",), bad=True)
PLAN = (
    Cycle(what="the first model", right=("promoted",)),
    MORE,
    BAD,
    MORE,
    Cycle(what="more data, the worker and its runs killed", kill=("worker",)),
    Cycle(what="a better idea", right=("promoted",), level=1),
    BAD,
    MORE,
    Cycle(what="more data, the server killed", kill=("server",)),
    MORE,
    Cycle(what="a better idea, a deployment that fails", right=("rolled back",), level=2, deploys=False),
    Cycle(what="more data, the deployment mended", right=("promoted",)),
    BAD,
    Cycle(what="more data, worker and server killed", kill=("worker", "server")),
    MORE,
    Cycle(what="a worse idea", right=("refused",), level=0),
    Cycle(what="a bad batch, the worker killed", right=("failed",), bad=True, kill=("worker",)),
    Cycle(what="the model's server killed, more data", kill=("model",), level=2),
    MORE,
    MORE,
)


def run(ground: Ground, plan: tuple[Cycle, ...], record: Path, most: int | None = None) -> list[dict[str, Any]]:
    """Run the cycles of ``plan`` that ``record`` does not hold yet, at most so many; what is known of all that ran."""
    done = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    for number in range(len(done), min(len(plan), len(done) + (most if most is not None else len(plan)))):
        found = {"cycle": number + 1, "what": plan[number].what} | _cycle(ground, plan, number)
        done.append(found)
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        print(json.dumps(found), flush=True)
    return done


def summary(done: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of ``done``: what the issue of unattended running comes down to."""
    disk = [round(sum(each["disk"].values()) / 1e6, 1) for each in done]
    return {
        "run": len(done),
        "right_state": sum(not each["wrong"] for each in done),
        "champion_worse": sum(each["gain"] < 0 for each in done if each["gain"] is not None),
        "orphan_processes": sum(len(each["orphans"]) for each in done),
        "locks_left": sum(len(each["locks"]) for each in done),
        "promoted": sum(each["outcome"] == "promoted" for each in done),
        "refused": sum(each["outcome"] == "refused" for each in done),
        "bad_batches_refused": sum(each["outcome"] == "failed" for each in done),
        "rolled_back": sum(each["outcome"] == "rolled back" for each in done),
        "killed_and_recovered": sum(bool(each["killed"]) and not each["wrong"] for each in done),
        "disk_mb": disk,
        "seconds": [round(each["seconds"]) for each in done],
    }


def _cycle(ground: Ground, plan: tuple[Cycle, ...], number: int) -> dict[str, Any]:
    cycle, project, began = plan[number], ground.project, time.monotonic()
    registry = Registry(project, load(project).artifact)
    before = registry.champion()
    if cycle.level is not None:
        ground.skill(cycle.level)
    ground.deploys(cycle.deploys)
    # What was bad is taken away again by the next batch.
    ground.arrive(sum(not each.bad for each in plan[1 : number + 1]) + cycle.bad, bad=cycle.bad)
    killed = _mischief(ground, cycle)
    _conclude(ground)
    after, outcome = registry.champion(), incoming.seen(project)["outcome"]
    found = {
        "outcome": outcome,
        "champion": after.name if after else None,
        "gain": gain(project, before, after),
        "killed": killed,
        "orphans": _orphans(project),
        "locks": list(_locks(project)),
        "disk": disk(project),
        "seconds": time.monotonic() - began,
    }
    return found | {"wrong": list(_wrong(ground, cycle, before, after, found))}


def _wrong(
    ground: Ground, cycle: Cycle, before: Version | None, after: Version | None, found: Mapping[str, Any]
) -> Iterator[str]:
    """What is not as it should be."""
    outcome = found["outcome"]
    if outcome not in cycle.right:
        yield f"ended as {outcome!r}, not {' or '.join(cycle.right)}"
    if (before != after) != (outcome == "promoted"):
        yield f"{outcome}, and the champion was {before} and is {after}"
    if found["gain"] is not None and found["gain"] < 0:
        yield f"the champion is worse than before by {-found['gain']:.4f}"
    if (now := served(ground.project)) != (after.commit if after else None):
        yield f"commit {now} answers, {after} is in production"
    if changed := git(ground.project, "status", "--porcelain"):
        yield f"the checkout was touched: {changed}"
    if set(found["killed"]) != set(cycle.kill):
        yield f"only {found['killed']} could be killed"
    yield from (f"left running: {line}" for line in found["orphans"])
    yield from (f"left locked: {line}" for line in found["locks"])


# Triggering, and waiting


def api(project: Path, path: str, **body: Any) -> Any:
    """What the project's Prefect server answers; a server that is being started again is waited for."""
    deadline = time.monotonic() + 180
    while True:
        server = processes.read(project / FOLDER / "server.json")
        try:
            if server is not None:
                answer = httpx.post(f"{server.url}{path}", json=body, timeout=60, trust_env=False)
                answer.raise_for_status()
                return answer.json()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, "there is no server"
        time.sleep(1)


def look(project: Path) -> None:
    """Start the deployment ``arrivals``, as its schedule does every five minutes."""
    (found,) = api(project, "/deployments/filter", deployments={"name": {"any_": ["arrivals"]}})
    api(project, f"/deployments/{found['id']}/create_flow_run")


def active(project: Path) -> list[str]:
    """The flow runs that are not over yet, but for those that are only due."""
    states = {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}
    return [each["name"] for each in api(project, "/flow_runs/filter", flow_runs={"state": states})]


def _conclude(ground: Ground) -> None:
    """Wait until a retraining has come to a conclusion about what lies in the folder, and nothing runs any more."""
    folder = ground.project / load(ground.project).retrain.incoming
    deadline, asked = time.monotonic() + PATIENCE_S, 0.0
    while True:
        concluded = incoming.seen(ground.project).get("fingerprint") == incoming.fingerprint(folder)
        if concluded and not active(ground.project):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"no conclusion in {PATIENCE_S} s; running: {active(ground.project)}")
        if not concluded and time.monotonic() - asked > ASK_EVERY_S and not active(ground.project):
            look(ground.project)
            asked = time.monotonic()
        time.sleep(POLL_S)


# Mischief


def _mischief(ground: Ground, cycle: Cycle) -> list[str]:
    """Kill each of ``cycle.kill`` outright, worker and server while a stage runs; what was killed."""
    killed, site = [], Site(ground.project, load(ground.project).serving)
    for name in cycle.kill:
        if name == "model":
            victims = list(site.servers().values())
        else:
            victims = [_while_runs(ground, ground.refusing if cycle.bad else ground.stage, name)]
        for victim in victims:
            process = psutil.Process(victim.pid)
            for each in [process, *process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        killed += [name] if victims else []
    return killed


def _while_runs(ground: Ground, stage: str, name: str) -> processes.Process:
    deadline, asked = time.monotonic() + PATIENCE_S, 0.0
    while not any(stage in line for _, line in _of(ground.project)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {stage!r} runs, during which to kill the {name}")
        if time.monotonic() - asked > ASK_EVERY_S and not active(ground.project):
            look(ground.project)
            asked = time.monotonic()
        time.sleep(0.05)
    deadline = time.monotonic() + 120
    while (found := processes.read(ground.project / FOLDER / f"{name}.json")) is None:
        assert time.monotonic() < deadline, f"{name} is not started again"
        time.sleep(0.1)
    return found


# Looking at what is left


def gain(project: Path, before: Version | None, after: Version | None) -> float | None:
    """What the champion is better by than the one before, on the test rows of both; None where it is the same one."""
    if before is None or after is None or before == after:
        return None
    old, new = (_right(project, version) for version in (before, after))
    common = old.keys() & new.keys()
    return sum(new[key] - old[key] for key in common) / len(common)


def _right(project: Path, version: Version) -> dict[tuple[Any, ...], float]:
    text = dvc.api.read(PREDICTIONS.format(task=TASK), repo=str(project), rev=version.commit)
    rows = [json.loads(line) for line in text.splitlines()]
    return {tuple(row[name] for name in METRIC_KEY): float(row["score"] > row["negative_score"]) for row in rows}


def served(project: Path) -> str | None:
    """The commit of the model that answers at the front."""
    front = processes.read(Site(project, load(project).serving).folder / "front.json")
    if front is None:
        return None
    answer = httpx.get(front.url + "/lineage", timeout=30, trust_env=False)
    return str(answer.json()["lineage"]["commit"]) if answer.status_code == 200 else None


def _of(project: Path) -> Iterator[tuple[int, str]]:
    """Processes that work in the project or below, with their command lines."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if f"{process.cwd()}/".startswith(f"{project}/"):
                yield process.pid, " ".join(process.cmdline())


def _orphans(project: Path) -> list[str]:
    """Processes of the project that belong to nothing that `make up` started and to no version in production."""
    deadline = time.monotonic() + 30
    while True:
        site = Site(project, load(project).serving)
        known = [processes.read(project / FOLDER / f"{name}.json") for name in ("server", "worker", "keeper")]
        known += [processes.read(site.folder / "front.json"), site.servers().get(site.target() or "")]
        family = {os.getpid()}
        for process in filter(None, known):
            with suppress(psutil.NoSuchProcess):
                family |= {process.pid, *(each.pid for each in psutil.Process(process.pid).children(recursive=True))}
        found = [line for pid, line in _of(project) if pid not in family and line]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(1)


def _locks(project: Path) -> Iterator[str]:
    """Locks that somebody holds or has left."""
    for path in [*(project / RUNS).glob("*"), *(project / ".git").rglob("*.lock")]:
        yield path.relative_to(project).as_posix()
    for path in (project / CACHE_LOCK, Site(project, load(project).serving).folder / "lock"):
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield path.relative_to(project).as_posix()
    rwlock = project / ".dvc" / "tmp" / "rwlock"
    if rwlock.exists() and json.loads(rwlock.read_text() or "{}"):
        yield "DVC's rwlock"


def disk(project: Path) -> dict[str, int]:
    """Bytes by kind of what the cycles may leave."""
    places = {
        "cache": project / ".dvc" / "cache",
        "git": project / ".git",
        "runs": project / "runs",
        "bentos": Path(os.environ.get("BENTOML_HOME", project / "nowhere")),
        "history": Path(os.environ.get("PREFECT_HOME", project / "nowhere")),
    }
    return {name: cleanup.size(folder) for name, folder in places.items() if folder.exists()}


# `make up`, `make down`


def control(project: Path, what: str) -> None:
    """``python -m flows.local up`` or ``down`` in the project."""
    command = [sys.executable, "-m", "flows.local", what]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"flows.local {what}: {done.stdout[-1000:]}{done.stderr[-3000:]}")
