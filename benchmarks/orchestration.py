"""What the flows cost and bear: over bare DVC, over a switch and a rollback under load, over a long history, and over
retraining cycles with nobody there.

    python benchmarks/orchestration.py [overhead] [switch] [history] [cycles] [--work FOLDER] [--most 4]

Each part rewrites its own figures in benchmarks/results/orchestration.json and leaves the others'. All of it runs in a
clone at the size of ``benchmarks/cycles.yaml``, kept in ``--work`` from run to run; ``cycles`` go on where they ended.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx

from benchmarks import cycles, harness, history, scenes_project
from flows import graph, processes
from flows.registry import Registry
from flows.serving import Site
from flows.settings import load

PARTS = ("overhead", "switch", "history", "cycles")
PER_SECOND = 20
SERVE = ("python", "-m", "service", "--bundle", "{bundle}", "--host", "127.0.0.1", "--port", "{port}")
BROKEN = ("python", "-c", "raise SystemExit('error: this deployment fails')")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--work", type=Path, help="kept from run to run; a temporary folder by default")
    parser.add_argument("--most", type=int, help="cycles in this run")
    parser.add_argument("--rounds", type=int, default=3, help="of the up-to-date graph, each side")
    parser.add_argument("--default-run-s", type=float, default=758, help="bare; docs/results.md has it with setting up")
    parser.add_argument("--runs", type=int, default=1000, help="of the history")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = (arguments.work or Path(temporary)).resolve()
        alone(work)
        measures: dict[str, Callable[[], dict[str, Any]]] = {
            "overhead": lambda: overhead(work, arguments.rounds, arguments.default_run_s),
            "switch": lambda: switch(work),
            "history": lambda: {"history": history.measure(work / "history", arguments.runs)},
            "cycles": lambda: unattended(work, arguments.most),
        }
        for part in arguments.parts or PARTS:
            path = harness.RESULTS / "orchestration.json"
            known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            own = {name: value for name, value in known.items() if name not in ("machine", "command", "commit", "at")}
            harness.write("orchestration", own | measures[part]())


def alone(work: Path) -> None:
    """Everything that is started from here has its own Prefect and this interpreter."""
    work.mkdir(parents=True, exist_ok=True)
    port = work / "port"
    if not port.exists():
        port.write_text(str(processes.free_port()))
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ |= {
        "PREFECT_HOME": str(work / "prefect"),
        "PREFECT_SERVER_API_PORT": port.read_text(),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "BENTOML_DO_NOT_TRACK": "True",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(work / "site"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }


def project(work: Path, name: str) -> Path:
    """The clone ``name``, made if it is not there, its first data arrived."""
    folder = work / name
    if not folder.exists():
        scenes_project.make(harness.ROOT, folder, {"serve": list(SERVE)})
        scenes_project.arrive(folder, 0)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder / "src"), str(folder)])
    # Both projects have a version v0.0.1, and no bento takes the place of another.
    os.environ["BENTOML_HOME"] = str(work / f"bentos-{name}")
    return folder


@contextmanager
def up(folder: Path) -> Iterator[None]:
    """Server, worker, keeper and deployments of the clone, until the block ends."""
    cycles.control(folder, "up")
    try:
        yield
    finally:
        cycles.control(folder, "down")


# Over bare DVC


def overhead(work: Path, rounds: int, default_run_s: float) -> dict[str, Any]:
    """Bare ``dvc repro`` and the flow ``pipeline``, in turn: of a graph in which all has to run, and of one in which
    nothing has. The share is of the default run, whose seconds are ``default_run_s`` (docs/results.md).
    """
    folder, runs, idle = project(work, "overhead"), [], []
    scenes_project.run(folder, "git", "add", "--force", "data/incoming")
    scenes_project.commit(folder, "the data")
    with up(folder):
        flow = [sys.executable, "-m", "flows.pipeline"]
        # One side's results would be restored to the other from the run cache: each run has a seed of its own.
        runs.append({"dvc": _fresh(folder, 101, ["dvc", "repro"]), "flow": _fresh(folder, 102, flow)})
        _run(folder, ["dvc", "repro"])
        scenes_project.run(folder, "git", "add", "dvc.lock", "metrics")
        scenes_project.commit(folder, "results")
        for _ in range(rounds):
            idle.append({"dvc": _run(folder, ["dvc", "repro"]), "flow": _run(folder, flow)})
    over = median(each["flow"] - each["dvc"] for each in runs)
    here, whole = (len(graph.read(each)[0].needs) for each in (folder, harness.ROOT))
    # The overhead is the stages', each started by itself: it does not grow with what a stage does.
    share = over / here * whole / default_run_s
    return {
        "up_to_date_overhead_s": round(median(each["flow"] - each["dvc"] for each in idle), 2),
        "run_overhead_s": round(over, 2),
        "run_overhead_share": round(share, 4),
        "run_overhead": {
            "stages_measured": here,
            "bare_run_measured_s": median(each["dvc"] for each in runs),
            "stages_of_the_default_run": whole,
            "default_run_s": default_run_s,
        },
        "samples": {"up_to_date_s": idle, "run_s": runs},
    }


def _fresh(folder: Path, seed: int, command: list[str]) -> float:
    from vlp import overlays

    overlays.apply(None, [f"seed={seed}"], folder / "params.yaml")
    scenes_project.commit(folder, f"seed {seed}")
    return _run(folder, command)


def _run(folder: Path, command: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-3000:]}")
    return round(time.perf_counter() - began, 2)


# Under load


def switch(work: Path) -> dict[str, Any]:
    """Two versions, promoted and rolled back at 20 requests a second: what was lost, and how long a rollback took."""
    folder = project(work, "overhead")
    site, registry = Site(folder, load(folder).serving), Registry(folder, load(folder).artifact)
    # Two commits of the same results: two versions, each with a bundle, a bento and a server of its own.
    commits = [scenes_project.run(folder, "git", "rev-parse", "HEAD"), scenes_project.commit(folder, "another version")]
    with up(folder):
        _run(folder, [sys.executable, "-m", "flows.promotion", commits[0]])
        with load_of(site) as statuses:
            _run(folder, [sys.executable, "-m", "flows.promotion", commits[1]])
            forth = len(statuses)
            began = time.perf_counter()
            _run(folder, [sys.executable, "-m", "flows.rollback"])
            took = time.perf_counter() - began
        champion = registry.champion()
        assert champion is not None
        assert champion.commit == cycles.served(folder) == commits[0]
    failed = sum(count for status, count in Counter(statuses).items() if status != 200)
    return {
        "failed_requests_in_switch": failed,
        "requests_in_switch": len(statuses),
        "requests_per_second": PER_SECOND,
        "rollback_s": round(took, 2),
        "switch": {"while_promoted": forth, "statuses": {str(key): n for key, n in Counter(statuses).items()}},
    }


@contextmanager
def load_of(site: Site) -> Iterator[list[int]]:
    """Real requests to the front at a steady rate, on time whatever an answer takes; their statuses, 0 for none."""
    champion = site.target()
    assert champion is not None
    sample = json.loads((site.folder / "versions" / champion / "samples.jsonl").read_text().splitlines()[0])
    picture = (site.folder / "versions" / champion / sample["image"]).read_bytes()
    statuses: list[int] = []
    over, threads = threading.Event(), list[threading.Thread]()
    url = site.front().url

    def ask(client: httpx.Client) -> None:
        try:
            files = {"image": ("picture.png", picture, "image/png")}
            answer = client.post(f"{url}/match", files=files, data={"texts": json.dumps(sample["texts"])})
            statuses.append(answer.status_code)
        except httpx.TransportError:
            statuses.append(0)

    def clock() -> None:
        with httpx.Client(timeout=60, trust_env=False, limits=httpx.Limits(max_connections=None)) as client:
            due = time.monotonic()
            while not over.is_set():
                threads.append(threading.Thread(target=ask, args=(client,)))
                threads[-1].start()
                due += 1 / PER_SECOND
                time.sleep(max(0.0, due - time.monotonic()))
            for thread in threads:
                thread.join()

    clocked = threading.Thread(target=clock)
    clocked.start()
    try:
        yield statuses
    finally:
        over.set()
        clocked.join()


# With nobody there


def unattended(work: Path, most: int | None) -> dict[str, Any]:
    """Retraining cycles on a growing set of scenes: the project's own stages, service and bentos."""
    folder = project(work, "cycles")
    ground = cycles.Ground(
        project=folder,
        arrive=lambda batches, bad=False: scenes_project.arrive(folder, batches, bad=bad),
        skill=lambda level: scenes_project.skill(folder, level),
        deploys=lambda well: scenes_project.deploys(folder, list(SERVE if well else BROKEN)),
        stage="vlp.stages.pretrain",
        refusing="vlp.stages.validate",
    )
    with up(folder):
        done = cycles.run(ground, cycles.PLAN, work / "cycles.jsonl", most)
        before = cycles.disk(folder)
        _run(folder, [sys.executable, "-m", "flows.cleanup"])
        after = cycles.disk(folder)
    left = [line for _, line in cycles._of(folder) if line]
    return {
        "cycles": cycles.summary(done)
        | {
            "planned": len(cycles.PLAN),
            "processes_after_down": len(left),
            "cache_mb_before_and_after_cleanup": [round(each["cache"] / 1e6, 1) for each in (before, after)],
            "each": done,
        }
    }


if __name__ == "__main__":
    main()
