"""`make up`: a server, a worker, the deployments; a cancelled run leaves nothing; `make down` ends it all."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from flows import local, processes, standing
from flows.registry import Registry
from flows.serving import BusyError
from flows.standing import FOLDER
from support import pipelines

SECONDS = 120


def said(project: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=project, env=os.environ | environment, capture_output=True, text=True, check=False
    )
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


@pytest.mark.soak
def test_up_runs_a_deployment_cancels_it_without_a_trace_and_down_ends_everything(standalone):
    flows = [sys.executable, "-m", "flows.local"]
    try:
        shown = said(standalone, *flows, "up")
        api = f"http://127.0.0.1:{os.environ['PREFECT_SERVER_API_PORT']}"
        assert f"prefect: {api}\n" in shown
        client = {"PREFECT_API_URL": f"{api}/api"}
        listed = httpx.post(f"{api}/api/deployments/filter", json={}, trust_env=False).json()
        limits = {
            each["name"]: (each["global_concurrency_limit"]["limit"], each["concurrency_options"]) for each in listed
        }
        assert limits.keys() == {"pipeline", "retrain", "arrivals", "promotion", "rollback", "cleanup", "drift"}
        assert {str(limit) for limit in limits.values()} == {str((1, limits["retrain"][1]))}
        assert limits["retrain"][1]["collision_strategy"] == "CANCEL_NEW"
        (due,) = next(each["schedules"] for each in listed if each["name"] == "retrain")
        assert (due["schedule"]["cron"], due["schedule"]["timezone"]) == ("0 3 * * *", "Etc/UTC")

        run = ["prefect", "deployment", "run", "pipeline/pipeline"]
        said(standalone, *run, "--param", 'overrides=["side.pause=60"]', "--param", 'targets=["side"]', **client)
        wait_until(lambda: any("steps.py side" in line for line in of_project(standalone)), "the stage never ran")
        running = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
        (found,) = httpx.post(f"{api}/api/flow_runs/filter", json=running, trust_env=False).json()
        said(standalone, "prefect", "flow-run", "cancel", found["id"], **client)
        wait_until(
            lambda: not any("steps.py" in line or "dvc" in line for line in of_project(standalone)), "still running"
        )
        wait_until(lambda: not list((standalone / "runs" / "flows").glob("*")), "the worktree stays")
        assert said(standalone, *flows, "up") == shown, "a second time changes nothing"
    finally:
        said(standalone, *flows, "down")
    assert of_project(standalone) == []
    assert not list((standalone / FOLDER).glob("*.json"))


@pytest.mark.soak
def test_a_locked_server_lets_in_who_has_its_lock_and_no_log_shows_it(standalone, monkeypatch):
    flows, lock = [sys.executable, "-m", "flows.local"], "admin:planted-lock-90210"
    by_hand = [sys.executable, "-m", "flows.pipeline", "validate"]
    monkeypatch.setenv(standing.LOCK, lock)
    try:
        said(standalone, *flows, "up")
        api = f"http://127.0.0.1:{os.environ['PREFECT_SERVER_API_PORT']}/api"
        known = {"auth": tuple(lock.split(":")), "trust_env": False}
        assert httpx.post(f"{api}/deployments/filter", json={}, trust_env=False).status_code == 401
        client = {"PREFECT_API_URL": api, standing.LOGIN: lock}
        said(standalone, "prefect", "deployment", "run", "arrivals/arrivals", **client)
        said(standalone, *by_hand)
        ended = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
        wait_until(
            lambda: len(httpx.post(f"{api}/flow_runs/filter", json=ended, **known).json()) == 2,
            "the worker is shut out",
        )
        monkeypatch.delenv(standing.LOCK)
        shut_out = subprocess.run(by_hand, cwd=standalone, capture_output=True, text=True, check=False)
        assert shut_out.returncode == 1
        assert shut_out.stderr.strip().splitlines()[-1].startswith(f"error: {api}: the server is locked (401): set")
        logs = "".join(path.read_text(errors="replace") for path in (standalone / FOLDER).glob("*.log"))
        assert logs and "planted-lock" not in logs
    finally:
        said(standalone, *flows, "down")
    assert of_project(standalone) == []


@pytest.fixture
def taken(monkeypatch) -> Iterator[None]:
    """Prefect's server cannot start: somebody else listens on its port."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("PREFECT_SERVER_API_PORT", str(other.getsockname()[1]))
        yield


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("start", [local.up, lambda project: list(local.revive(project))], ids=["up", "keeper"])
def test_where_prefects_server_cannot_start_the_model_is_served_and_the_reason_is_told(
    project, site, start, monkeypatch
):
    monkeypatch.setattr(local, "_keeper", lambda _: None)  # its turn is the next test's
    registry = Registry(project, "vlp")
    registry.assign(registry.register(pipelines.git(project, "rev-parse", "HEAD")))
    with pytest.raises(processes.StartError, match="change PREFECT_SERVER_API_PORT"):
        start(project)
    assert site.servers().keys() == {site.target()} == {"v0.0.1"}
    assert httpx.get(site.front().url + "/readyz", trust_env=False).status_code == 200


def test_what_up_could_not_start_the_keeper_tries_again_and_what_is_served_it_keeps(standalone, taken, site):
    registry = Registry(standalone, "vlp")
    registry.assign(registry.register(pipelines.git(standalone, "rev-parse", "HEAD")))
    try:
        with pytest.raises(processes.StartError, match="change PREFECT_SERVER_API_PORT"):
            local.up(standalone)
        keeper, (first,) = processes.read(standalone / FOLDER / "keeper.json"), site.servers().values()
        assert keeper is not None
        first.stop()
        wait_until(
            lambda: [each.pid for each in site.servers().values()] not in ([], [first.pid]), "nobody starts it again"
        )
        told = standalone / FOLDER / "keeper.log"
        wait_until(lambda: "change PREFECT_SERVER_API_PORT" in told.read_text(), "it does not try")
        with pytest.raises(processes.StartError, match="change PREFECT_SERVER_API_PORT"):
            local.up(standalone)
        again = processes.read(standalone / FOLDER / "keeper.json")
        assert again is not None and again.pid != keeper.pid, "it knows what the last `up` was told"
    finally:
        assert {"keeper", "front"} <= set(local.down(standalone))
    assert of_project(standalone) == []


def test_what_up_could_not_deploy_the_keeper_deploys(project, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    done: list[str] = []
    monkeypatch.setattr(local, "_worker", lambda *_: done.append("worker"))
    monkeypatch.setattr(local, "_revive_site", lambda *_: iter(()))
    monkeypatch.setattr(local, "_deploy", lambda project, api: done.append(api) or (project / local.DEPLOYED).touch())
    (project / FOLDER).mkdir(parents=True)
    assert list(local.revive(project)) == ["the schedule", "the worker"]
    assert list(local.revive(project)) == ["the worker"]
    assert done == ["http://127.0.0.1:1/api", "worker", "worker"]


@pytest.mark.usefixtures("taken")
def test_where_neither_can_start_both_reasons_are_told(project, monkeypatch):
    def broken(*_: object) -> None:
        raise processes.StartError("this bundle cannot be served")

    monkeypatch.setattr(local.promotion, "recover", broken)
    with pytest.raises(ExceptionGroup, match="not everything runs") as told:
        list(local.revive(project))
    assert [str(each).split(":")[0] for each in told.value.exceptions] == ["this bundle cannot be served", "127.0.0.1"]
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["flows.local", "up"])
    with pytest.raises(SystemExit, match=r"error: 127\.0\.0\.1:.*\nerror: this bundle cannot be served"):
        local.main()


def test_down_waits_for_a_promotion_and_ends_what_it_has_started(project, site, caplog):
    held = site.locked()
    held.__enter__()

    def promoting() -> None:
        wait_until(lambda: "waiting up to" in caplog.text, "it does not wait")
        site.front()
        held.__exit__(None, None, None)

    thread = threading.Thread(target=promoting)
    thread.start()
    ended = local.down(project)
    thread.join()
    assert ended == ["front"]
    assert processes.read(site.folder / "front.json") is None


def test_down_leaves_a_promotion_that_goes_on_what_it_serves_and_says_so(project, site, monkeypatch):
    monkeypatch.setattr(local, "QUIET_S", 0.2)
    site.front()
    with site.locked(), pytest.raises(BusyError, match=r"try again, when it is over: .* still run; ended: nothing"):
        local.down(project)
    assert processes.read(site.folder / "front.json") is not None
    assert local.down(project) == ["front"]
