"""The pipeline flow on a real server and a real, small DVC repository."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort

from flows import pipeline as module
from flows.pipeline import pipeline
from flows.registry import Registry
from flows.stages import StageError, Status
from flows.worktree import RUNS, git
from support import pipelines

pytestmark = pytest.mark.usefixtures("server")


def artifact(key: str) -> str:
    """The newest artifact ``key``, as text."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), sort=ArtifactSort.CREATED_DESC, limit=1
        )
    return str(found[0].data)


def rows(key: str) -> list[dict[str, Any]]:
    return json.loads(artifact(key))


def last_run() -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["pipeline"])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=1,
        )[0]


def worktrees(project: Path) -> list[str]:
    return [path.name for path in (project / RUNS).glob("*")]


def test_an_up_to_date_graph_runs_nothing_and_leaves_nothing(project):
    outcome = pipeline(str(project))
    assert outcome.stages == dict.fromkeys(outcome.stages, Status.UP_TO_DATE)
    assert outcome.stages.keys() == pipelines.NAMES
    assert outcome.commit is None
    assert worktrees(project) == []
    assert git(project, "status", "--porcelain") == ""


def test_a_change_runs_what_follows_from_it_and_its_results_are_a_branch(project):
    outcome = pipeline(str(project), overrides=["train.skill=0.8"])
    assert outcome.stages["validate"] == Status.UP_TO_DATE
    assert {outcome.stages[name] for name in pipelines.NAMES - {"validate"}} == {Status.RAN}
    assert git(project, "rev-parse", outcome.branch) == outcome.commit
    changed = git(project, "diff", "--name-only", "HEAD", outcome.commit).splitlines()
    assert changed == ["dvc.lock", "metrics/matching.json", "params.yaml"]
    assert git(project, "status", "--porcelain") == "", "the checkout is not touched"
    git(project, "switch", "--quiet", outcome.branch)
    subprocess.run(["dvc", "checkout", "--quiet"], cwd=project, check=True)
    assert subprocess.run(["dvc", "status", "--quiet"], cwd=project, check=False).returncode == 0
    assert json.loads((project / "data" / "left").read_text())["skill"] == 0.8


def test_what_ran_before_is_restored_from_the_cache(project):
    pipeline(str(project), overrides=["train.skill=0.8"])
    again = pipeline(str(project), overrides=["train.skill=0.8"])
    assert again.stages["train"] == again.stages["side@left"] == again.stages["export"] == Status.RESTORED
    assert again.stages["evaluate"] == Status.RAN, "DVC keeps no run of a stage with a metric outside its cache"


def test_independent_stages_run_side_by_side(project):
    git(project, "tag", "before")
    began = time.monotonic()
    pipeline(str(project), overrides=["side.pause=4.0"], targets=["side"])
    assert time.monotonic() - began < 2 * 4.0 + 1.0


def test_it_shows_parameters_figures_beside_the_champions_validation_and_reports(project):
    registry = Registry(project, "vlp")
    registry.assign(registry.register(git(project, "rev-parse", "HEAD")))
    pipeline(str(project), overrides=["train.skill=0.2"])
    assert "-  skill: 0.7" in artifact("parameters")
    assert "+  skill: 0.2" in artifact("parameters")
    figures = {row["metric"]: row for row in rows("metrics")}["matching.accuracy"]
    difference = float(figures["this run"]) - float(figures["champion"])
    assert difference < -0.3
    assert float(figures["difference"]) == pytest.approx(difference, abs=1e-5)
    assert "| records | 400 |" in artifact("validation")
    assert {row["stage"]: row["status"] for row in rows("stages")}["validate"] == "Up to date"
    link = Path(artifact("report-validation").split("(file://")[1].rstrip(")"))
    assert link.read_text() == "<p>0 of 400 are bad</p>"
    assert link.is_relative_to(project / "runs" / "reports")


def test_lines_are_logged_and_progress_is_drawn(project, caplog):
    (project / "data" / "incoming" / "more.jsonl").write_text(pipelines.rows(range(1000, 1010)))
    pipelines.commit(project)
    with caplog.at_level(logging.INFO):
        pipeline(str(project), targets=["validate"])
    assert "records: 1/2, 9.0/s" in caplog.messages
    assert float(artifact("progress-validate-records")) == 100.0


def test_a_failed_stage_is_not_retried_and_what_needs_it_does_not_run(project):
    (project / "data" / "incoming" / "bad.jsonl").write_text(pipelines.rows([7], bad=True))
    pipelines.commit(project)
    with pytest.raises(StageError, match=r"validate failed; not run: train, .*\n.*error: 1 bad records: r7"):
        pipeline(str(project))
    run = last_run()
    with get_client(sync_client=True) as client:
        tried = [each.run_count for each in client.read_task_runs() if each.flow_run_id == run.id]
    assert sorted(tried) == [0] * (len(tried) - 1) + [1]
    assert artifact("validation").endswith("| bad | 1 |")
    assert worktrees(project) == []
    assert len(list((project / "runs" / "reports").rglob("validation.html"))) == 1, "the report outlives the worktree"


def test_a_failure_that_may_pass_is_retried(project):
    steps = (project / "steps.py").read_text()
    mark = project.parent / "tried"
    flaky = f"""
def train():
    if not Path({str(mark)!r}).exists():
        Path({str(mark)!r}).touch()
        sys.exit("error: [Errno 110] Connection timed out")
    write("data/trained", json.dumps({{"skill": parameter("skill"), "ids": 1}}))

globals()"""
    (project / "steps.py").write_text(steps.replace("\nglobals()", flaky))
    pipelines.change(project, "params.yaml", train__skill=0.75)
    pipelines.commit(project)
    assert pipeline(str(project), targets=["train"]).stages["train"] == Status.RAN
    assert mark.exists()


def test_an_unknown_stage_or_preset_is_one_line(project):
    with pytest.raises(ValueError, match="no stage 'trian' in dvc.yaml; there is"):
        pipeline(str(project), targets=["trian"])
    with pytest.raises(ValueError, match=r"nope\.yaml"):
        pipeline(str(project), preset="nope")
    assert worktrees(project) == []


def test_old_branches_and_reports_go(project):
    pipelines.change(project, "flows/config.yaml", retrain__keep=2)
    for skill in (0.1, 0.2, 0.3):
        pipeline(str(project), overrides=[f"train.skill={skill}"], targets=["train"])
    assert len(git(project, "branch", "--list", "runs/*").splitlines()) == 2
    assert len(list((project / "runs" / "reports").iterdir())) == 2


# Ended from outside


def started(project: Path, *arguments: str) -> tuple[subprocess.Popen[str], Callable[[], bool]]:
    """A flow in a process of its own, waiting in a stage that sleeps; and whether any of its processes runs."""
    mark = f"{project}/"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(pipelines.PROJECT), os.environ["PYTHONPATH"]])}
    process = subprocess.Popen(
        [sys.executable, "-m", module.__name__, "--set", "side.pause=60", *arguments],
        cwd=project,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def alive() -> bool:
        return any(of_project(Path(entry), mark) for entry in Path("/proc").glob("[0-9]*"))

    deadline = time.monotonic() + 60
    while not any("side" in words for words in commands_in(mark)):
        assert process.poll() is None
        assert time.monotonic() < deadline, commands_in(mark)
        time.sleep(0.1)
    return process, alive


def commands_in(mark: str) -> list[list[str]]:
    found = [entry for entry in Path("/proc").glob("[0-9]*") if of_project(entry, mark)]
    return [(entry / "cmdline").read_text().split("\0") for entry in found if entry.exists()]


def of_project(entry: Path, mark: str) -> bool:
    try:
        return f"{os.readlink(entry / 'cwd')}/".startswith(mark)
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_ended_run_leaves_no_process_no_lock_and_the_next_one_works(project, number):
    before = git(project, "rev-parse", "HEAD")
    process, alive = started(project)
    process.send_signal(number)
    process.wait(timeout=30)
    deadline = time.monotonic() + 10
    while alive():
        assert time.monotonic() < deadline, commands_in(f"{project}/")
        time.sleep(0.1)
    if number != signal.SIGKILL:
        assert worktrees(project) == [], "an ended run cleans up after itself; a killed one cannot"
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "rev-parse", "HEAD") == before
    assert pipeline(str(project), overrides=["train.skill=0.8"]).commit
    assert worktrees(project) == []


@pytest.mark.slow
def test_it_works_without_a_server_from_the_command_line(project):
    shutil.copy(pipelines.PROJECT / "pyproject.toml", project)
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {
        "PREFECT_HOME": str(project.parent / "prefect"),
        "PYTHONPATH": os.pathsep.join([str(pipelines.PROJECT), os.environ["PYTHONPATH"]]),
    }
    done = subprocess.run(
        [sys.executable, "-m", module.__name__, "--set", "train.skill=0.9"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "export: Ran" in done.stderr + done.stdout
