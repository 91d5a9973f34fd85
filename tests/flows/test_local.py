"""`make up`: a server, a worker, the deployments; a cancelled run leaves nothing; `make down` ends it all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from flows import processes
from flows.standing import FOLDER
from support import pipelines

pytestmark = pytest.mark.soak
SECONDS = 120


@pytest.fixture
def environment(project, monkeypatch) -> dict[str, str]:
    """That of a person in the project, without a server of the tests'."""
    shutil.copy(pipelines.PROJECT / "prefect.yaml", project)
    shutil.copytree(
        pipelines.PROJECT / "flows",
        project / "flows",
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__", "config.yaml"),
    )
    pipelines.commit(project, "flows")
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    return os.environ | {
        "PREFECT_HOME": str(project.parent / "prefect"),
        "PREFECT_SERVER_API_PORT": str(processes.free_port()),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_COLORS": "false",
    }


def said(project: Path, environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def of_project(project: Path) -> list[str]:
    """The command lines of all processes that work in the project or below."""
    found = []
    for process in psutil.process_iter():
        try:
            if f"{process.cwd()}/".startswith(f"{project}/"):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return [line for line in found if line]


def wait_until(true, what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_up_runs_a_deployment_cancels_it_without_a_trace_and_down_ends_everything(project, environment):
    flows = [sys.executable, "-m", "flows.local"]
    try:
        shown = said(project, environment, *flows, "up")
        api = f"http://127.0.0.1:{environment['PREFECT_SERVER_API_PORT']}"
        assert f"prefect: {api}\n" in shown
        client = environment | {"PREFECT_API_URL": f"{api}/api"}
        listed = said(project, client, "prefect", "deployment", "ls")
        assert {"pipeline", "retrain", "arrivals", "promotion", "rollback"} <= set(listed.replace("/", " ").split())

        run = ["prefect", "deployment", "run", "pipeline/pipeline"]
        said(project, client, *run, "--param", 'overrides=["side.pause=60"]', "--param", 'targets=["side"]')
        wait_until(lambda: any("steps.py side" in line for line in of_project(project)), "the stage never ran")
        running = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
        (found,) = httpx.post(f"{api}/api/flow_runs/filter", json=running, trust_env=False).json()
        said(project, client, "prefect", "flow-run", "cancel", found["id"])
        wait_until(
            lambda: not any("steps.py" in line or "dvc" in line for line in of_project(project)), "still running"
        )
        wait_until(lambda: not list((project / "runs" / "flows").glob("*")), "the worktree stays")
    finally:
        said(project, environment, *flows, "down")
    assert of_project(project) == []
    assert not list((project / FOLDER).glob("*.json"))
