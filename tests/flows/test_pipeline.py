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

import httpx
import pytest
from prefect.client.orchestration import get_client

from flows import artifacts, stages
from flows import pipeline as module
from flows.pipeline import pipeline
from flows.registry import Registry
from flows.stages import StageError, Status
from flows.worktree import RUNS, git
from support import pipelines
from support.prefect_api import artifact, environment, last_run, rows

pytestmark = [pytest.mark.soak, pytest.mark.usefixtures("server")]


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
    registry = Registry(project, "vlp")
    registry.assign(registry.register(git(project, "rev-parse", "HEAD")))
    outcome = pipeline(str(project), overrides=["train.skill=0.2"], targets=["evaluate"])
    assert outcome.stages == {"validate": Status.UP_TO_DATE, "train": Status.RAN, "evaluate": Status.RAN}
    assert git(project, "rev-parse", outcome.branch) == outcome.commit
    changed = git(project, "diff", "--name-only", "HEAD", outcome.commit).splitlines()
    assert changed == ["dvc.lock", "metrics/matching.json", "params.yaml"]
    assert git(project, "status", "--porcelain") == "", "the checkout is not touched"

    # What a person sees of it.
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

    again = pipeline(str(project), overrides=["train.skill=0.2"], targets=["train"])
    assert again.stages == {"validate": Status.UP_TO_DATE, "train": Status.RESTORED}, "from the cache of the first run"

    git(project, "switch", "--quiet", outcome.branch)
    subprocess.run(["dvc", "checkout", "--quiet", "train"], cwd=project, check=True)
    assert json.loads((project / "data" / "trained").read_text())["skill"] == 0.2


def test_a_speed_that_is_judged_is_measured_and_not_left_by_another_run(project):
    timing = project / "metrics" / "timing" / "export.json"
    before = timing.read_text()
    pipelines.change(project, "params.yaml", evaluate__flaw="slow")
    subprocess.run(["dvc", "repro", "--quiet"], cwd=project, check=True)
    git(project, "restore", ".")  # the run cache has it all now, but for what a clock measured
    assert timing.read_text() == before
    outcome = pipeline(str(project), overrides=["evaluate.flaw=slow"])
    assert outcome.stages["evaluate"] == Status.RESTORED
    assert outcome.stages["export"] == Status.RAN
    assert json.loads(git(project, "show", f"{outcome.commit}:metrics/timing/export.json")) == {
        "matching": {"onnxruntime": {"latency_ms_p50": 50.0}}
    }


def test_a_run_may_have_any_name_and_each_keeps_its_own_branch(project):
    named = pipeline.with_options(flow_run_name="Läufe/../München №5 " + "x" * 300)
    first = named(str(project), overrides=["train.skill=0.2"], targets=["train"])
    second = named(str(project), overrides=["train.skill=0.3"], targets=["train"])
    assert first.branch == "runs/laufe-munchen-no5-" + "x" * 42
    assert second.branch.startswith(f"{first.branch}-")
    assert git(project, "rev-parse", first.branch, second.branch).split() == [first.commit, second.commit]


def test_two_runs_of_one_name_at_once_are_two(project):
    named = pipeline.with_options(flow_run_name="nightly")
    names = []

    def overlapping(*given, **options):
        with module.run_name(project) as other:
            names.append(other)
        return real(*given, **options)

    real = module._produced
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_produced", overlapping)
        outcome = named(str(project), overrides=["train.skill=0.2"], targets=["train"])
    assert outcome.branch == "runs/nightly"
    assert names[0].startswith("nightly-")
    assert not (project / "runs" / "reports" / names[0]).exists(), "it left none"


def test_data_that_are_not_in_the_cache_are_named_and_nothing_runs_on_the_rest(project):
    (project / "data" / "incoming" / "second.jsonl").write_text(pipelines.rows(range(400, 600)))
    subprocess.run(["dvc", "add", "--quiet", "data/incoming/second.jsonl"], cwd=project, check=True)
    pipelines.commit(project, "more data")
    (project / "data" / "incoming" / "second.jsonl").unlink()
    kept = {line.split()[-1] for line in (project / "data" / "incoming" / "second.jsonl.dvc").read_text().splitlines()}
    for cached in (project / ".dvc" / "cache").rglob("*"):
        if cached.parent.name + cached.name in kept:
            cached.unlink()
    with pytest.raises(stages.NoDataError, match=r"dvc fetch data/incoming/second\.jsonl\.dvc"):
        pipeline(str(project))


def test_a_server_that_shows_nothing_ends_nothing(project, monkeypatch, caplog):
    def broken(*_: object, **__: object) -> None:
        raise httpx.ConnectError("All connection attempts failed")

    for name in ("create_markdown_artifact", "create_table_artifact", "create_link_artifact"):
        monkeypatch.setattr(artifacts, name, broken)
    monkeypatch.setattr(stages, "create_progress_artifact", broken)
    steps = (project / "steps.py").read_text()
    (project / "steps.py").write_text(steps.replace("(1, 2)", "(1, 2, 2)"))  # so that validate runs, and shows progress
    pipelines.commit(project)
    outcome = pipeline(str(project), overrides=["train.skill=0.2"])
    assert outcome.commit is not None
    assert caplog.text.count("validate: progress is no longer shown in Prefect") == 1
    assert "the metrics are not shown in Prefect: All connection attempts failed" in caplog.text


def test_independent_stages_run_side_by_side(project):
    log = project.parent / "log"
    sleep = f"""
def side(name):
    with open({str(log)!r}, "a") as file:
        print("begin", name, file=file, flush=True)
        deadline = time.monotonic() + 60
        while Path({str(log)!r}).read_text().count("begin") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        print("end", name, file=file)
    write("data/" + name, Path("data/trained").read_text())

globals()"""
    (project / "steps.py").write_text((project / "steps.py").read_text().replace("\nglobals()", sleep))
    pipelines.change(project, "params.yaml", side__pause=0.1)
    pipelines.commit(project)
    outcome = pipeline(str(project), targets=["side"])
    assert outcome.stages["side@left"] == outcome.stages["side@right"] == Status.RAN
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["begin", "begin", "end", "end"]


def test_a_failed_stage_is_shown_line_by_line_not_retried_and_what_needs_it_does_not_run(project, caplog):
    (project / "steps.py").write_text((project / "steps.py").read_text().replace('row.get("bad")', 'row["id"] == "r7"'))
    pipelines.commit(project)
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(StageError, match=r"(?s)validate failed; not run: train, .*error: 1 bad records: r7"),
    ):
        pipeline(str(project))
    assert "records: 1/2, 9.0/s" in caplog.messages
    assert float(artifact("progress-validate-records")) == 100.0
    run = last_run("pipeline")
    with get_client(sync_client=True) as client:
        tried = [each.run_count for each in client.read_task_runs() if each.flow_run_id == run.id]
    assert sorted(tried) == [0] * (len(tried) - 1) + [1]
    assert artifact("validation").endswith("| bad | 1 |")
    assert worktrees(project) == []
    assert len(list((project / "runs" / "reports").rglob("validation.html"))) == 1, "the report outlives the worktree"


def test_a_failure_before_the_validation_shows_no_other_commits_validation(project, monkeypatch):
    shown: list[str] = []
    monkeypatch.setattr(artifacts, "_markdown", lambda key, _: shown.append(key))
    graph = (project / "dvc.yaml").read_text()
    before = (
        "stages:\n  ingest:\n    cmd: python -c \"raise SystemExit('the source is gone')\"\n    outs: [data/ingested]\n"
    )
    after = graph.replace("stages:\n", before).replace(
        "deps: [data/incoming,", "deps: [data/ingested, data/incoming,", 1
    )
    (project / "dvc.yaml").write_text(after)
    pipelines.commit(project)
    with pytest.raises(StageError, match="ingest failed; not run: validate"):
        pipeline(str(project))
    assert shown == ["parameters"]
    assert list((project / "runs" / "reports").rglob("*.html")) == []


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
    with pytest.raises(ValueError, match=r"no stage 'trian' in dvc\.yaml; there is"):
        pipeline(str(project), targets=["trian"])
    with pytest.raises(ValueError, match=r"nope\.yaml"):
        pipeline(str(project), preset="nope")
    assert worktrees(project) == []


def test_old_branches_go_and_young_ones_stay_however_many(project):
    for day in range(6):
        dated = os.environ | {"GIT_COMMITTER_DATE": f"@{int(time.time()) - 86400 * day - 3600} +0000"}
        author = ("-c", "user.name=A Person", "-c", "user.email=person@example.org")
        commit = ["git", *author, "commit-tree", "HEAD^{tree}", "-m", str(day)]
        made = subprocess.run(commit, cwd=project, env=dated, capture_output=True, text=True, check=True)
        git(project, "branch", f"runs/day-{day}", made.stdout.strip())
    assert module.drop_old_branches(project, keep=2, keep_days=4) == ["runs/day-4", "runs/day-5"]
    assert git(project, "branch", "--list", "runs/*").split() == [f"runs/day-{day}" for day in range(4)]
    assert module.drop_old_branches(project, keep=2, keep_days=1) == ["runs/day-2", "runs/day-3"]


# Ended from outside


def started(project: Path) -> tuple[subprocess.Popen[str], Callable[[], bool]]:
    """A flow in a process of its own, waiting in a stage that sleeps; and whether any of its processes runs."""
    mark = f"{project}/"
    process = subprocess.Popen(
        [sys.executable, "-m", module.__name__, "--set", "side.pause=60", "side"],
        cwd=project,
        env=environment(),
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
        return f"{(entry / 'cwd').readlink()}/".startswith(mark)
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
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
    assert pipeline(str(project), overrides=["train.skill=0.8"], targets=["train"]).commit
    assert worktrees(project) == []


def test_it_works_without_a_server_from_the_command_line(project):
    shutil.copy(pipelines.PROJECT / "pyproject.toml", project)
    alone = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    alone |= {
        "PREFECT_HOME": str(project.parent / "prefect"),
        "PYTHONPATH": os.pathsep.join([str(pipelines.PROJECT), os.environ["PYTHONPATH"]]),
    }
    done = subprocess.run(
        [sys.executable, "-m", module.__name__, "--set", "train.skill=0.9", "train"],
        cwd=project,
        env=alone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "train: Ran" in done.stderr + done.stdout
