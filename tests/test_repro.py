"""The real pipeline, in fresh clones of the last commit, at a tiny size and with the network closed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from support.graph import load_yaml
from vlp import overlays

# One worker of pytest-xdist runs all of these: they share the first clone's run, and each uses both cores.
pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parent.parent
PRESET = "tiny.yaml"


def environment(clone: Path) -> dict[str, str]:
    """This environment with ``clone``'s own code and the network closed."""
    code = [str(clone / "tests" / "offline"), str(clone / "src")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(code), "DVC_SITE_CACHE_DIR": str(clone.parent / "site")}


def command(clone: Path, *arguments: str) -> str:
    """What ``arguments`` say on standard output; an error with both streams' ends where they fail."""
    done = subprocess.run(arguments, cwd=clone, env=environment(clone), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def stages_run(output: str) -> list[str]:
    return re.findall(r"^Running stage '([^']+)'", output, re.MULTILINE)


def changed(clone: Path) -> set[str]:
    """The stages whose code, data or parameters are not those of their last run."""
    return set(json.loads(command(clone, "dvc", "status", "--json")))


def clone_into(folder: Path, origin: Path = PROJECT) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(origin), str(folder)], check=True)
    return folder


def change(clone: Path, *settings: str) -> None:
    overlays.apply(None, settings, clone / "params.yaml")


def outs(clone: Path) -> dict[str, str | None]:
    """Every out in dvc.lock, with its hash."""
    stages = load_yaml(clone / "dvc.lock")["stages"]
    return {out["path"]: out.get("md5") for stage in stages.values() for out in stage["outs"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A clone in which the whole pipeline has run once, at the tiny size; tests only read it."""
    clone = clone_into(tmp_path_factory.mktemp("finished") / "clone")
    overlays.apply(clone / "presets" / PRESET, [], clone / "params.yaml")
    (clone / "dvc.lock").unlink(missing_ok=True)
    command(clone, "dvc", "repro")
    return clone


@pytest.fixture
def again(finished, tmp_path) -> Path:
    """A copy of the finished clone, cache and results included, to change."""
    return shutil.copytree(finished, tmp_path / "clone", symlinks=True)


def test_the_committed_results_are_those_of_the_committed_code(tmp_path):
    clone = clone_into(tmp_path / "clone")
    assert (clone / "dvc.lock").exists(), "no dvc.lock in the last commit: make repro, and commit dvc.lock and metrics/"
    left = command(clone, "dvc", "repro", "--dry", "--allow-missing")
    stale = stages_run(left)
    assert not stale, (
        f"dvc.lock and metrics/ of the last commit are not of its code: {', '.join(stale)} would run in a clean clone; "
        f"make repro, and commit dvc.lock and metrics/\n{left}"
    )
    unrecorded = [path for path in outs(clone) if path.startswith("metrics/") and not (clone / path).exists()]
    assert not unrecorded, f"in dvc.lock, but not in git: {', '.join(unrecorded)}"


def test_a_fresh_clone_runs_from_data_to_bundle_without_a_network(finished):
    recorded = outs(finished)
    assert {"data/prepared", "models/pretrained", "models/bundle"} <= recorded.keys()
    assert not [path for path in recorded if not (finished / path).exists()]
    graph = load_yaml(finished / "dvc.yaml")["stages"]
    tasks = load_yaml(finished / "params.yaml")["tasks"]
    expected = {name for name, stanza in graph.items() if "foreach" not in stanza}
    expected |= {f"{name}@{task}" for name, stanza in graph.items() if "foreach" in stanza for task in tasks}
    assert load_yaml(finished / "dvc.lock")["stages"].keys() == expected
    for path in (finished / "metrics").rglob("*.json"):
        assert json.loads(path.read_text(encoding="utf-8")), path


def test_a_second_run_runs_nothing(again):
    before = (again / "dvc.lock").read_bytes()
    assert stages_run(command(again, "dvc", "repro")) == []
    assert (again / "dvc.lock").read_bytes() == before


def test_a_learning_rate_re_runs_training_onward_and_nothing_before(again):
    rate = load_yaml(again / "params.yaml")["pretrain"]["phases"]["read"]["training"]["learning_rate"]
    change(again, f"pretrain.phases.read.training.learning_rate={rate * 0.5}")
    assert changed(again) == {"pretrain", "export"}, "the bundle's lineage holds every parameter"
    assert stages_run(command(again, "dvc", "repro", "pretrain")) == ["pretrain"]
    assert "finetune@matching" in changed(again)


def test_a_tasks_own_rate_leaves_pretraining_alone(again):
    rate = load_yaml(again / "params.yaml")["tasks"]["matching"]["training"]["learning_rate"]
    change(again, f"tasks.matching.training.learning_rate={rate * 0.5}")
    assert changed(again) == {"finetune@matching", "export"}


def test_an_edit_outside_a_stages_code_re_runs_nothing(again):
    used = load_yaml(again / "params.yaml")["model"]["fusion"]["name"]
    unused = [path for path in (again / "src/vlp/models/fusion").glob("*.py") if path.stem not in ("__init__", used)]
    others = [again / "src" / "vlp" / "__init__.py", again / "src" / "vlp" / "cli.py", again / "README.md"]
    (again / "flows").mkdir(exist_ok=True)
    for path in [*unused, *others, *(again / "flows").glob("*.py"), again / "flows" / "new.py"]:
        with path.open("a", encoding="utf-8") as file:
            file.write("\n# edited\n")
    assert unused
    assert stages_run(command(again, "dvc", "repro")) == []


def writes(clone: Path) -> bool:
    """Whether a stage is in the middle of writing an out."""
    return any(
        next(clone.glob(f"{folder}/.*.partial"), None) for folder in ("data", "models", "models/tasks", "reports")
    )


def kill_in(clone: Path, moment: str, spared: set[str]) -> str | None:
    """SIGKILL all of ``dvc repro`` in its first stage that is not ``spared``: that stage; None if all was over.

    ``moment``: ``loading`` is while the stage imports, ``writing`` is when one of its outs is half there.
    """
    process = subprocess.Popen(
        ["dvc", "repro"],
        cwd=clone,
        env=environment(clone) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    said: list[str] = []
    assert process.stdout is not None
    listener = threading.Thread(target=lambda stream: said.extend(stream), args=(process.stdout,))
    listener.start()
    try:
        while process.poll() is None:
            began = stages_run("".join(said))
            if began and began[-1] not in spared:
                if moment == "loading":
                    time.sleep(0.3)
                    return began[-1]
                if writes(clone):
                    return began[-1]
            time.sleep(0.005)
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        listener.join()
        process.stdout.close()


KILLS = (("loading", "ingest"), ("writing", "preprocess"), ("writing", "pretrain"), ("writing", "export"))
"""When, and in which stage at the earliest: before there is anything, in shards, in weights, and at the very end."""


def test_a_killed_run_leaves_nothing_that_looks_finished_and_the_next_one_ends_the_same(finished, tmp_path):
    clone = clone_into(tmp_path / "clone", finished)  # of the same commit, whatever was committed since
    overlays.apply(clone / "presets" / PRESET, [], clone / "params.yaml")
    (clone / "dvc.lock").unlink(missing_ok=True)
    shutil.rmtree(clone / "metrics", ignore_errors=True)
    whole = {path: sorted(file.name for file in (finished / path).rglob("*")) for path in outs(finished)}
    order = list(load_yaml(finished / "dvc.lock")["stages"])  # in which they ran
    killed: list[str] = []
    for moment, earliest in KILLS:
        stage = kill_in(clone, moment, {*order[: order.index(earliest)], *killed})
        assert stage is not None, f"nothing was left to kill {moment} from {earliest} on, after {killed}"
        killed.append(stage)
        for path, files in whole.items():
            found = sorted(file.name for file in (clone / path).rglob("*"))
            assert not (clone / path).exists() or found == files, f"{path} is half-written by {stage}"
    command(clone, "dvc", "repro")
    assert (clone / "dvc.lock").read_text(encoding="utf-8") == (finished / "dvc.lock").read_text(encoding="utf-8")
    leftover = [path for path in clone.rglob(".*.partial") if ".dvc" not in path.parts]
    assert not leftover, "left over from a killed stage"


def test_the_network_is_closed_in_child_processes(tmp_path):
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
    child = subprocess.run(
        [sys.executable, "-c", code], env=environment(PROJECT), capture_output=True, text=True, check=False
    )
    assert "a test's child process reached for the network" in child.stderr


def test_a_search_that_is_interrupted_goes_on_and_its_trials_are_experiments(again):
    for name, value in (("user.name", "A Person"), ("user.email", "person@example.org")):
        command(again, "git", "config", name, value)
    command(again, "git", "add", "--all")
    command(again, "git", "commit", "--quiet", "--message", "the tiny size")
    notes = again / "runs" / "tune" / "matching"
    tune = ("vlp", "tune", "matching", "--trials", "2", "--json")
    with (again.parent / "tune.log").open("w") as log:
        first = subprocess.Popen(tune, cwd=again, env=environment(again), stdout=log, stderr=log)
        deadline = time.monotonic() + 300
        while not list(notes.glob("*.jsonl")) and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 130, (again.parent / "tune.log").read_text()
    assert not (notes / "running.json").exists()
    rows = json.loads(command(again, *tune))
    ended = [row for row in rows if row["state"] in ("complete", "pruned")]
    (cut_off,) = [row for row in rows if row["state"] == "fail"]
    assert len(ended) == 2 and any(row["params"] == cut_off["params"] for row in ended)
    shown = command(again, "dvc", "exp", "show", "--csv")
    assert all(row["name"] in shown for row in ended) and "pair_accuracy" in shown
    assert command(again, "git", "status", "--porcelain") == ""
    command(again, "vlp", "tune", "matching", "--apply")
    best = next(row for row in rows if row["state"] == "complete")
    rate = load_yaml(again / "params.yaml")["tasks"]["matching"]["training"]["learning_rate"]
    assert rate == pytest.approx(best["params"]["tasks.matching.training.learning_rate"])
