"""The flow around ``vlp drift``, with a receiver of notifications and served records of a real folder."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from flows import notifications
from flows.drift import drift, markdown
from support.requests import LIMITS, requests, write

PROJECT = Path(__file__).resolve().parents[2]


class Receiver(BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    told: ClassVar[list[dict[str, str]]] = []

    def do_POST(self) -> None:
        self.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """What a local receiver of notifications was sent."""
    Receiver.told.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        monkeypatch.setenv(notifications.WEBHOOK, f"http://127.0.0.1:{receiver.server_port}/")
        yield Receiver.told
        receiver.shutdown()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(json.dumps({"drift": LIMITS.model_dump()}), encoding="utf-8")  # JSON is YAML
    (tmp_path / "flows").mkdir()
    shutil.copy(PROJECT / "flows" / "config.yaml", tmp_path / "flows")
    write(tmp_path / "reports" / "reference" / "served.jsonl", requests(500, seed=1, reference=True))
    write(tmp_path / "monitoring" / "vlp" / "data" / "data.1.log", requests(200, seed=2, darker=25.0))
    return tmp_path


@flow
def retraining(force: bool = False) -> None:
    """What an incident starts."""


async def _started() -> tuple[list[dict[str, Any]], list[str]]:
    """The parameters of each run of the retraining, and the texts of the drift artifacts."""
    async with get_client() as client:
        runs = [run.parameters for run in await client.read_flow_runs() if run.deployment_id is not None]
        return runs, [str(found.data) for found in await client.read_artifacts() if found.key == "drift"]


async def _deploy(project: Path) -> None:
    deployment = await retraining.ato_deployment(name="scheduled")
    await deployment.aapply()


@pytest.mark.soak
def test_an_incident_is_shown_and_starts_one_retraining(server, project, told):
    asyncio.run(_deploy(project))
    found: dict[str, Any] = drift(str(project), retrain="retraining/scheduled")
    assert found["alert"]["features"] == ["blue", "green", "red"]
    runs, shown = asyncio.run(_started())
    assert runs == [{"force": True}]
    assert "**Incident 1**" in shown[0]
    assert "| red |" in shown[0]
    assert [(each["event"], each["subject"]) for each in told] == [("drift", "drift: blue, green, red")]

    again = drift(str(project), retrain="retraining/scheduled")
    assert (again["alert"], again["incident"]["announced"]) == (None, True)
    assert len(asyncio.run(_started())[0]) == 1, "the same incident starts nothing more"
    assert len(told) == 1, "and is told once"


def test_the_last_window_is_told_feature_by_feature():
    feature = {"name": "red", "reference": 120.0, "window": 95.0, "distance": 0.7, "p": 1e-9, "violated": True}
    window = {"ended": "2026-11-23T08:03", "violated": ["red"], "features": [feature], "left_out": ["score"]}
    text = markdown({"incident": None, "windows": [window], "waiting": 3, "refused": ["a.log:1: text: missing"]})
    assert text.splitlines() == [
        "No incident.",
        "",
        "1 windows compared, 1 violated; 3 requests wait;",
        "1 lines were no records.",
        "",
        "The window that ended 2026-11-23T08:03:",
        "",
        "| feature | reference | served | distance | p | |",
        "|---|---|---|---|---|---|",
        "| red | 120 | 95 | 0.700 | 1e-09 | **drifted** |",
        "",
        "Not compared, of another bundle: score.",
    ]
