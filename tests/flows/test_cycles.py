"""Retraining with nobody there, by the benchmark's own harness, on stages that take moments: a part of its cycles."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import cycles
from benchmarks.cycles import BAD, MORE, Cycle, Ground
from flows.worktree import git
from support import pipelines

pytestmark = pytest.mark.soak
SKILLS = (0.6, 0.75, 0.9)
BATCH = 20
PLAN = (
    Cycle(what="the first model", right=("promoted",)),
    Cycle(what="more data, the worker and its runs killed", right=("refused",), kill=("worker",)),
    BAD,
    Cycle(what="a better idea, the server killed", right=("promoted",), level=1, kill=("server",)),
    Cycle(what="a better idea, a deployment that fails", right=("rolled back",), level=2, deploys=False),
    Cycle(what="more data, the deployment mended, the model's server killed", right=("promoted",), kill=("model",)),
    MORE,
)


@pytest.fixture
def ground(standalone) -> Iterator[Ground]:
    """A project that is up."""
    project = standalone
    pipelines.change(project, "params.yaml", train__skill=SKILLS[0], side__pause=1.0)
    pipelines.commit(project, "skill")
    serve = pipelines.settings(project)["serving"]["serve"]

    def arrive(batches: int, *, bad: bool = False) -> None:
        folder = project / "data" / "incoming"
        for batch in range(1, batches + 1):
            start = 400 + BATCH * batch
            rows = pipelines.rows(range(start, start + BATCH), bad=bad and batch == batches)
            path = folder / f"batch-{batch:02d}.jsonl"
            if not path.exists() or path.read_text() != rows:
                path.write_text(rows)

    def skill(level: int) -> None:
        pipelines.change(project, "params.yaml", train__skill=SKILLS[level])
        pipelines.commit(project, f"level {level}")

    def deploys(well: bool) -> None:
        wanted = serve if well else ["python", "-c", "raise SystemExit('error: this deployment fails')"]
        if pipelines.settings(project)["serving"]["serve"] != wanted:
            pipelines.change(project, "flows/config.yaml", serving__serve=wanted)
            pipelines.commit(project, "serve otherwise")

    cycles.control(project, "up")
    yield Ground(
        project=project,
        arrive=arrive,
        skill=skill,
        deploys=deploys,
        stage="steps.py side",
        refusing="steps.py validate",
    )
    cycles.control(project, "down")


def test_whatever_dies_on_the_way_the_state_is_right_in_the_end(ground, tmp_path):
    done = cycles.run(ground, PLAN, tmp_path / "cycles.jsonl")
    assert [each["wrong"] for each in done] == [[] for _ in PLAN]
    found = cycles.summary(done)
    assert (found["right_state"], found["champion_worse"], found["orphan_processes"]) == (len(PLAN), 0, 0)
    assert found["killed_and_recovered"] == 3
    said = (ground.project / "runs" / "local" / "keeper.log").read_text()
    for name in ("the server", "the worker", "the server of v0.0.2"):
        assert f"{name} was not running and is started again" in said
    crashed = cycles.api(ground.project, "/flow_runs/filter", flow_runs={"state": {"type": {"any_": ["CRASHED"]}}})
    assert [each["state"]["message"] for each in crashed] == ["its process is gone: no heartbeat any more"]
    tags = [f"vlp#prod#{number}" for number in (1, 2, 3)] + [f"vlp@v0.0.{number}" for number in (1, 2, 3)]
    assert git(ground.project, "tag").split() == tags
