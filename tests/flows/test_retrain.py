"""Retraining from end to end: what arrives is validated, trained on, judged, promoted or not, and told of."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from prefect.states import State

from flows import arrivals, incoming, promotion
from flows import retrain as module
from flows.processes import StartError
from flows.registry import Registry
from flows.retrain import TRIES, Retrained, retrain
from flows.serving import Site
from flows.stages import StageError
from flows.worktree import RUNS, git
from support import pipelines, prefect_api

pytestmark = [pytest.mark.soak, pytest.mark.usefixtures("server")]
SECRETS = {"PLANTED_API_TOKEN": "planted-token-90210", "AWS_SECRET_ACCESS_KEY": "planted-remote-key-31337"}


@pytest.fixture
def told(monkeypatch) -> Iterator[list[dict[str, str]]]:
    """What a webhook on loopback was told."""
    found: list[dict[str, str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("FLOWS_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/planted-hook-path")
        yield found
        server.shutdown()
        thread.join()


def run(project: Path) -> Retrained:
    found = retrain(str(project))
    assert isinstance(found, Retrained)
    return found


def production(project: Path, site: Site) -> tuple[str, str]:
    """The version that the registry has in production, and the commit that answers."""
    champion = Registry(project, "vlp").champion()
    assert champion is not None
    return champion.name, httpx.get(site.front().url + "/lineage", trust_env=False).json()["lineage"]["commit"]


def test_a_stage_that_was_killed_is_no_conclusion_until_it_happens_again_and_again(project, site, tmp_path):
    short = tmp_path / "memory is short"
    short.touch()
    steps = project / "steps.py"
    killed = f"def train():\n    if Path({str(short)!r}).exists():\n        os.kill(os.getpid(), 9)\n"
    steps.write_text(steps.read_text().replace("def train():\n", killed))
    pipelines.commit(project, "memory is short")
    (project / "data" / "incoming" / "second.jsonl").write_text(pipelines.rows(range(400, 600)))
    for _ in range(TRIES - 1):
        with pytest.raises(StageError, match="train failed"):
            retrain(str(project))
        assert incoming.seen(project).get("outcome") is None
    with pytest.raises(StageError, match="train failed"):
        retrain(str(project))
    assert incoming.seen(project)["outcome"] == "failed"
    assert run(project).outcome == "nothing new"


def test_the_life_of_a_model(project, site, told, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    folder = project / "data" / "incoming"
    first = git(project, "rev-parse", "HEAD")
    assert run(project).outcome == "promoted", "the first model that passes the floor"
    assert production(project, site) == ("v0.0.1", first)

    state = retrain(str(project), return_state=True)
    assert isinstance(state, State)
    assert state.name == "Nothing new"
    assert prefect_api.last_run("retrain").state_name == "Nothing new"

    (folder / "second.jsonl").write_text(pipelines.rows(range(400, 420), bad=True))
    with pytest.raises(StageError, match=r"(?s)validate failed; not run: train.*20 bad records"):
        run(project)
    assert production(project, site) == ("v0.0.1", first)
    pages = [path.read_text() for path in (project / "runs" / "reports").rglob("validation.html")]
    assert "<p>20 of 420 are bad</p>" in pages
    assert run(project).outcome == "nothing new", "data that were refused are not tried again"

    (folder / "second.jsonl").write_text(pipelines.rows(range(400, 600)))
    pipelines.change(project, "params.yaml", train__skill=0.85)
    pipelines.commit(project, "a better idea")
    better = run(project)
    assert (better.outcome, better.version) == ("promoted", "v0.0.2")
    assert production(project, site) == ("v0.0.2", better.commit)
    assert "test rows that the champion never answered are left out" in prefect_api.artifact("gate")
    assert "data/incoming/second.jsonl.dvc" in git(project, "show", "--name-only", "--format=", better.commit)

    (folder / "third.jsonl").write_text(pipelines.rows(range(600, 700)))
    pipelines.change(project, "params.yaml", train__skill=0.75)
    pipelines.commit(project, "a worse idea")
    worse = run(project)
    assert worse.outcome == "refused"
    assert "not better than the champion" in prefect_api.artifact("gate")
    assert production(project, site) == ("v0.0.2", better.commit)
    assert [version.name for version in Registry(project, "vlp").versions()] == ["v0.0.1", "v0.0.2"]

    assert [each["event"] for each in told] == ["promoted", "failed", "promoted", "refused"]
    assert "20 bad records" in told[1]["text"]
    assert list((project / RUNS).glob("*")) == []
    assert git(project, "status", "--porcelain") == ""

    files = [path.read_bytes() for path in project.rglob("*") if path.is_file() and not path.is_symlink()]
    kept = b"\n".join(files).decode("latin-1") + prefect_api.everything() + json.dumps(told)
    assert "environment: [(" in kept, "a stage did print its environment"
    assert not [name for name in (*SECRETS.values(), "planted-hook-path") if name in kept]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train__skill": 0.6}, "not better than the champion by more than +0.0000: the difference is -"),
        ({"side__pause": 0.01}, "the difference is +0.0000, its 95% interval begins at +0.0000"),
        ({"train__skill": 0.9, "evaluate__flaw": "slow"}, "slower: 50.00 ms, the champion 10.00 ms"),
        ({"train__skill": 0.9, "evaluate__flaw": "leaking"}, "the others may have been trained on"),
        ({"train__skill": 0.9, "evaluate__flaw": "blind"}, "told apart without the picture"),
        ({"train__skill": 0.9, "evaluate__flaw": "broken"}, "is predicted twice"),
    ],
    ids=["worse", "equal", "slower", "leaking", "blind", "broken"],
)
def test_a_challenger_that_loses_is_refused_with_the_reason_and_is_not_tried_again(project, site, changes, reason):
    champion = run(project)
    pipelines.change(project, "params.yaml", **changes)
    pipelines.commit(project, "an idea")
    (project / "data" / "incoming" / "second.jsonl").write_text(pipelines.rows(range(400, 420)))
    lost = run(project)
    assert lost.outcome == "refused"
    assert reason in prefect_api.artifact("gate")
    assert production(project, site) == (champion.version, champion.commit)
    assert run(project).outcome == "nothing new"


def test_a_verdict_against_a_champion_of_the_past_promotes_nothing_and_the_next_run_judges_anew(
    project, site, monkeypatch
):
    assert run(project).version == "v0.0.1"
    pipelines.change(project, "params.yaml", train__skill=0.8)
    subprocess.run(["dvc", "repro", "--quiet"], cwd=project, check=True)
    other = pipelines.commit(project, "somebody else's")
    pipelines.change(project, "params.yaml", train__skill=0.9)
    pipelines.commit(project, "a better idea")
    (project / "data" / "incoming" / "second.jsonl").write_text(pipelines.rows(range(400, 420)))
    real = module._judged

    def slow(*given):
        monkeypatch.setattr(module, "_judged", real)
        found = real(*given)
        promotion.promotion(str(project), other)
        return found

    monkeypatch.setattr(module, "_judged", slow)
    with pytest.raises(promotion.LateError, match=r"v0\.0\.2 is in production by now, and v0\.0\.1"):
        retrain(str(project))
    assert production(project, site) == ("v0.0.2", other)
    again = run(project)
    assert (again.outcome, again.verdict.champion) == ("promoted", "v0.0.2")


def test_what_cannot_be_served_is_not_tried_every_few_minutes(project, site):
    champion = run(project)
    pipelines.change(project, "params.yaml", train__skill=0.9, serve__manner="never")
    pipelines.commit(project, "better, and cannot be served")
    (project / "data" / "incoming" / "second.jsonl").write_text(pipelines.rows(range(400, 420)))
    with pytest.raises(StartError, match="this bundle cannot be served"):
        run(project)
    assert production(project, site) == (champion.version, champion.commit)
    assert run(project).outcome == "nothing new"
    pipelines.change(project, "params.yaml", serve__manner="well")
    pipelines.commit(project, "mended")
    assert retrain(str(project), force=True).outcome == "promoted"


def test_data_that_are_fetched_after_the_last_try_are_taken_by_the_next_run(project, site):
    folder, cache = project / "data" / "incoming", project / ".dvc" / "cache"
    champion = run(project)
    (folder / "second.jsonl").write_text(pipelines.rows(range(400, 600)))
    subprocess.run(["dvc", "add", "--quiet", "data/incoming/second.jsonl"], cwd=project, check=True)
    (folder / "second.jsonl").unlink()
    cache.rename(project / "elsewhere")
    (cache / "files").mkdir(parents=True)
    for _ in range(TRIES + 1):
        with pytest.raises(incoming.MissingDataError, match=r"dvc fetch data/incoming/second\.jsonl\.dvc"):
            retrain(str(project))
    assert arrivals.arrivals(str(project), settle_s=0.1) is False, "nobody is told of it every few minutes"
    assert incoming.seen(project)["outcome"] == "promoted"
    shutil.rmtree(cache)
    (project / "elsewhere").rename(cache)
    assert run(project).outcome == "refused", "no better than the champion, and judged"
    assert production(project, site) == (champion.version, champion.commit)
    assert run(project).outcome == "nothing new"


def test_a_look_into_the_folder_tells_of_data_that_lie_still(project):
    assert arrivals.arrivals(str(project), settle_s=0.1) is True
    (project / "runs").mkdir()
    folder = project / "data" / "incoming"
    arrivals.incoming.remember(project, arrivals.incoming.fingerprint(folder), "", "refused")
    assert arrivals.arrivals(str(project), settle_s=0.1) is False
