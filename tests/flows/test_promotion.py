"""Promotion and rollback with real servers, a real registry and a real front: what fails leaves all as it was."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from flows import processes, promotion, rollback, settings
from flows.registry import Registry
from flows.serving import PACKAGED, DamagedError, NoResultsError, Site
from flows.worktree import RUNS, git
from support import pipelines, prefect_api

pytestmark = pytest.mark.usefixtures("server")


def version(project: Path, **parameters: object) -> str:
    """A commit with the results of other parameters."""
    pipelines.change(project, "params.yaml", **parameters)
    subprocess.run(["dvc", "repro", "--quiet"], cwd=project, check=True)
    return pipelines.commit(project, "results")


def served(site: Site) -> str | None:
    """The commit of the version that answers at the front."""
    answer = httpx.get(site.front().url + "/lineage", trust_env=False)
    return answer.json()["lineage"]["commit"] if answer.status_code == 200 else None


def tags(project: Path) -> list[str]:
    return git(project, "tag").splitlines()


@pytest.mark.slow
def test_a_first_promotion_a_second_and_the_way_back(project, site):
    first = git(project, "rev-parse", "HEAD")
    assert promotion.promotion(str(project)).name == "v0.0.1"
    assert served(site) == first
    assert tags(project) == ["vlp#prod#1", "vlp@v0.0.1"]

    second = version(project, train__skill=0.8)
    assert promotion.promotion(str(project), second).name == "v0.0.2"
    assert served(site) == second
    assert site.servers().keys() == {"v0.0.2"}, "the old server ends"
    assert Registry(project, "vlp").champion().commit == second
    assert git(project, "worktree", "list").count("\n") == 0

    began = time.monotonic()
    assert rollback.rollback(str(project)).name == "v0.0.1"
    assert time.monotonic() - began < 10
    assert served(site) == first
    assert Registry(project, "vlp").champion().commit == first
    assert "vlp#prod#3" in tags(project), "history is added to, never rewritten"
    assert site.servers().keys() == {"v0.0.1"}


@pytest.mark.soak
@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("never", "ended before it was ready: error: this bundle cannot be served"),
        ("silently", "not ready after 2 s"),
        ("wrongly", "5 of 5 records are answered otherwise than evaluated"),
        ("briefly", "answered with 500"),
        ("until watched", "(stopped answering|RemoteProtocolError|ReadError|answered with 502)"),
    ],
)
def test_a_version_that_serves_badly_is_taken_back_by_itself(project, site, manner, reason):
    first = git(project, "rev-parse", "HEAD")
    promotion.promotion(str(project))
    if manner == "silently":
        pipelines.change(project, "flows/config.yaml", serving__ready_s=2)
    before = tags(project)
    bad = version(project, serve__manner=manner)
    with pytest.raises((processes.StartError, promotion.smoke.SmokeError, promotion.WatchError), match=reason):
        promotion.promotion(str(project), bad)
    assert served(site) == first
    assert tags(project) == before
    assert site.servers().keys() == {"v0.0.1"}
    assert site.target() == "v0.0.1"


def spoil(site: Site, name: str) -> None:
    """The server of a version ends, and never starts again: a library was upgraded, say."""
    manner = site.folder / "versions" / name / "bundle" / "manner"
    manner.chmod(0o644)
    manner.write_text("never")
    site.servers()[name].stop()


@pytest.mark.slow
def test_a_version_that_no_longer_starts_stands_in_nobodys_way(project, site):
    first = git(project, "rev-parse", "HEAD")
    promotion.promotion(str(project))
    promotion.promotion(str(project), version(project, train__skill=0.8))
    spoil(site, "v0.0.2")
    assert rollback.rollback(str(project)).name == "v0.0.1"
    assert served(site) == first
    spoil(site, "v0.0.1")
    third = version(project, train__skill=0.9)
    assert promotion.promotion(str(project), third).name == "v0.0.3"
    assert served(site) == third


@pytest.mark.parametrize("content", [None, "", "{}", "[]"])
def test_a_folder_that_does_not_say_what_it_was_made_of_is_made_anew(project, site, content):
    """And what was built of it is still known."""
    commit = git(project, "rev-parse", "HEAD")
    folder = site.unpack("v0.0.1", commit)
    (folder / PACKAGED).touch()
    lineage = folder / "bundle" / "lineage.json"
    lineage.unlink()
    if content is not None:
        lineage.write_text(content)
    with pytest.raises(DamagedError, match=r"versions/v0\.0\.1/bundle/lineage\.json: (cannot be read|names no commit)"):
        site.lineage("v0.0.1")
    assert site.unpack("v0.0.1", commit) == folder
    assert site.lineage("v0.0.1")["commit"] == commit
    assert (folder / PACKAGED).exists()


@pytest.mark.slow
def test_damaged_folders_stand_in_nobodys_way(project, site, monkeypatch, caplog):
    """One of an old version neither, whose bento is to be taken back."""
    first = git(project, "rev-parse", "HEAD")
    promotion.promotion(str(project))
    promotion.promotion(str(project), version(project, train__skill=0.8))
    for name in ("v0.0.1", "v0.0.2"):
        (site.folder / "versions" / name / "bundle" / "lineage.json").unlink()
    assert rollback.rollback(str(project)).name == "v0.0.1"
    assert served(site) == first

    def broken(*_: object) -> None:
        raise KeyError("what nobody thought of")

    monkeypatch.setattr(promotion, "recover", broken)
    monkeypatch.setattr(logging.getLogger("prefect"), "propagate", True)
    third = version(project, train__skill=0.9)
    assert promotion.promotion(str(project), third).name == "v0.0.3"
    assert "what is in production cannot be served: 'what nobody thought of'\nTraceback" in caplog.text
    (site.folder / "versions" / "v0.0.2" / PACKAGED).touch()
    (site.folder / "versions" / "v0.0.2" / "bundle" / "lineage.json").write_text("")
    wanting = Site(project, site.settings.model_copy(update={"discard": ("python", "-c", "pass", "{version}")}))
    promotion.discard(wanting, "v0.0.2")
    assert "the bento of v0.0.2 is not removed" in caplog.text


@pytest.mark.soak
def test_the_old_server_may_die_while_the_new_one_is_watched(project, site, monkeypatch):
    first = git(project, "rev-parse", "HEAD")
    promotion.promotion(str(project))
    bad = version(project, serve__manner="until watched")
    old, switch = site.servers()["v0.0.1"], Site.switch

    def short_of_memory(self: Site, name: str | None) -> None:
        switch(self, name)
        if name == "v0.0.2":
            old.stop()

    told: list[str] = []
    monkeypatch.setattr(Site, "switch", short_of_memory)
    monkeypatch.setattr(promotion.notifications, "tell", lambda _, event, __, text: told.append(f"{event}: {text}"))
    with pytest.raises((promotion.smoke.SmokeError, promotion.WatchError)):
        promotion.promotion(str(project), bad)
    assert served(site) == first
    assert site.servers().keys() == {"v0.0.1"}
    assert told[0].startswith("rolled_back: ") and told[0].endswith("; v0.0.1 serves")


@pytest.mark.soak
def test_a_server_that_is_busy_is_asked_again(project, site):
    promotion.promotion(str(project), version(project, serve__manner="busily"))
    assert site.target() == "v0.0.1"


def test_a_port_that_is_somebody_elses_is_no_front(project, site):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = Site(project, site.settings.model_copy(update={"port": port}))
        with pytest.raises(processes.StartError, match=f"127.0.0.1:{port}: somebody else listens there already"):
            taken.front()


def test_there_may_be_nothing_to_return_to(project):
    with pytest.raises(rollback.RollbackError, match="no version was in production before"):
        rollback.rollback(str(project))
    with pytest.raises(rollback.RollbackError, match=r"no version 'v9'; there is none"):
        rollback.rollback(str(project), "v9")


@pytest.mark.slow
def test_a_commit_without_results_is_refused(project, site):
    pipelines.change(project, "params.yaml", train__skill=0.9)
    (project / "dvc.lock").unlink()
    with pytest.raises(NoResultsError, match="DVC's cache has no models/bundle of it: dvc pull, or run its stages"):
        promotion.promotion(str(project), pipelines.commit(project, "no results"))
    assert tags(project) == []
    assert site.target() is None
    assert served(site) is None


def test_two_do_not_promote_at_once(project, site):
    with site.locked(), pytest.raises(RuntimeError, match="another promotion or rollback is under way"):
        promotion.promotion(str(project))


def test_what_was_decided_before_another_promotion_is_not_done(project, site):
    first = git(project, "rev-parse", "HEAD")
    assert promotion.promotion(str(project)).name == "v0.0.1"
    chosen = settings.load(project)
    for decided in (None, "v0.0.9"):
        with pytest.raises(promotion.LateError, match=r"v0\.0\.1 is in production by now"):
            promotion.promote(project, first, chosen, promotion.still(decided))
        with pytest.raises(promotion.LateError):
            promotion.return_to(project, Registry(project, "vlp").versions()[0], chosen, promotion.still(decided))
    assert tags(project) == ["vlp#prod#1", "vlp@v0.0.1"]
    assert served(site) == first


@pytest.mark.slow
def test_a_version_that_a_person_assigns_meanwhile_stays(project, site, monkeypatch):
    first = git(project, "rev-parse", "HEAD")
    promotion.promotion(str(project))
    registry = Registry(project, "vlp")
    second = registry.register(version(project, train__skill=0.8))
    third = version(project, train__skill=0.9)
    real = promotion.smoke.test
    monkeypatch.setattr(promotion.smoke, "test", lambda *given: (registry.assign(second), real(*given))[1])
    with pytest.raises(promotion.LateError, match=r"v0\.0\.2 is in production by now"):
        promotion.promotion(str(project), third)
    assert registry.champion() == second
    assert served(site) == first, "the keeper serves what is assigned"


@pytest.mark.slow
def test_the_very_version_may_be_assigned_meanwhile(project, site, monkeypatch):
    promotion.promotion(str(project))
    registry = Registry(project, "vlp")
    second = registry.register(version(project, train__skill=0.8))
    real = promotion.smoke.test
    monkeypatch.setattr(promotion.smoke, "test", lambda *given: (registry.assign(second), real(*given))[1])
    assert promotion.promotion(str(project), second.commit) == registry.champion() == second


@pytest.mark.slow
def test_what_goes_wrong_after_a_promotion_does_not_undo_it(project, site, monkeypatch):
    def broken(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(promotion, "retire", broken)
    assert promotion.promotion(str(project)).name == "v0.0.1"
    assert tags(project) == ["vlp#prod#1", "vlp@v0.0.1"]


# The switch


@contextmanager
def load(url: str, body: Callable[[], dict[str, object]], per_second: float) -> Iterator[list[int]]:
    """Requests at a steady rate from a client that keeps its connections; their statuses, 0 for no answer."""
    statuses: list[int] = []
    over = threading.Event()

    def ask(client: httpx.Client) -> None:
        try:
            statuses.append(client.post(url + "/match", **body()).status_code)  # type: ignore[arg-type]
        except httpx.TransportError:
            statuses.append(0)

    def run() -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            due = time.monotonic()
            while not over.is_set():
                ask(client)
                due += 2 / per_second
                time.sleep(max(0.0, due - time.monotonic()))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.slow
def test_a_switch_and_a_rollback_lose_no_request_at_20_a_second(project, site):
    promotion.promotion(str(project))
    second = version(project, train__skill=0.8)
    sample = json.loads((project / "reports" / "samples" / "samples.jsonl").read_text().splitlines()[0])

    def body() -> dict[str, object]:
        return {"files": {"image": ("x", sample["record"].encode())}, "data": {"texts": '["0"]'}}

    with load(site.front().url, body, per_second=20) as statuses:
        time.sleep(0.5)
        promotion.promotion(str(project), second)
        rollback.rollback(str(project))
    assert len(statuses) > 50
    assert set(statuses) == {200}


# Killed


@pytest.mark.soak
@pytest.mark.parametrize("step", ["_smoke", "_watch"])
def test_a_promotion_that_is_killed_is_put_right_by_the_next(project, site, step):
    """Killed once before and once after the requests went over to the new version."""
    first = git(project, "rev-parse", "HEAD")
    promotion.promotion(str(project))
    second = version(project, train__skill=0.8)
    code = (
        "import os, signal, sys; from flows import promotion\n"
        f"step = promotion.{step}\n"
        f"promotion.{step} = lambda *each: os.kill(os.getpid(), signal.SIGKILL)\n"
        "promotion.promotion(sys.argv[1], sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(project), second]
    killed = subprocess.run(command, env=prefect_api.environment(), check=False)
    assert killed.returncode == -signal.SIGKILL
    assert site.servers().keys() == {"v0.0.1", "v0.0.2"}
    assert site.target() == ("v0.0.2" if step == "_watch" else "v0.0.1")
    with site.locked():
        promotion.recover(site, Registry(project, "vlp"))
    assert served(site) == first
    assert site.servers().keys() == {"v0.0.1"}
    assert promotion.promotion(str(project), second).name == "v0.0.2"
    assert served(site) == second
    assert list((project / RUNS).glob("*")) == []


@pytest.mark.slow
def test_a_server_that_died_is_started_again(project, site):
    promotion.promotion(str(project))
    psutil.Process(site.servers()["v0.0.1"].pid).kill()
    promotion.recover(site, Registry(project, "vlp"))
    assert served(site) == git(project, "rev-parse", "HEAD")


@pytest.mark.soak
def test_a_name_that_was_taken_back_is_not_the_bundle_of_the_next(project, site):
    promotion.promotion(str(project))
    with pytest.raises(promotion.smoke.SmokeError):
        promotion.promotion(str(project), version(project, serve__manner="wrongly"))
    good = version(project, serve__manner="well", train__skill=0.8)
    assert promotion.promotion(str(project), good).name == "v0.0.2", "the name is free again"
    assert served(site) == good


# Packages

STORE = """\
import pathlib, shutil, sys
what, name, *labels = sys.argv[1:]
place = pathlib.Path(__file__).parent / name
if what == "delete":
    sys.exit(None if place.exists() and not shutil.rmtree(place) else f"error: {name} is not found")
if place.exists():
    sys.exit(f"error: {name} already exists in the store")
shutil.copytree("models/bundle", place)
(place / "labels").write_text(" ".join(labels))
if name in (pathlib.Path(__file__).parent / "full").read_text():
    sys.exit("error: no space left")
"""


@pytest.fixture
def store(project, tmp_path) -> Path:
    """A store of packages with the manners of BentoML's: no two of one name, none deleted that is not there."""
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "full").write_text("")
    (folder / "store.py").write_text(STORE)
    command = ["python", str(folder / "store.py")]
    build = [*command, "build", "{version}", "commit={commit}", "dvc_lock={dvc_lock}"]
    serving = pipelines.settings(project)["serving"]
    changed = {"package": build, "discard": [*command, "delete", "{version}"], "keep": 2}
    pipelines.change(project, "flows/config.yaml", serving=serving | changed)
    pipelines.commit(project, "a store")
    return folder


def packages(store: Path) -> set[str]:
    return {path.name for path in store.iterdir() if path.is_dir()}


@pytest.mark.soak
def test_a_package_is_of_the_sealed_bundle_and_goes_with_its_version(project, site, store):
    first = version(project, train__skill=0.71)
    promotion.promotion(str(project), first)
    lock = site.lineage("v0.0.1")["dvc_lock"]
    assert (store / "v0.0.1" / "labels").read_text() == f"commit={first} dvc_lock={lock}"
    assert json.loads((store / "v0.0.1" / "lineage.json").read_text())["commit"] == first

    with pytest.raises(promotion.smoke.SmokeError):
        promotion.promotion(str(project), version(project, serve__manner="wrongly"))
    assert packages(store) == {"v0.0.1"}, "taken back"

    good = version(project, serve__manner="well", train__skill=0.8)
    (store / "full").write_text("v0.0.2")
    with pytest.raises(promotion.commands.CommandError, match="no space left"):
        promotion.promotion(str(project), good)
    assert packages(store) == {"v0.0.1"}, "half a package is none"
    (store / "full").write_text("")

    (store / "v0.0.2").mkdir()  # of another project on this machine
    with pytest.raises(promotion.commands.CommandError, match="already exists"):
        promotion.promotion(str(project), good)
    assert packages(store) == {"v0.0.1", "v0.0.2"}, "is not ours to take"
    (store / "v0.0.2").rmdir()

    promotion.promotion(str(project), good)
    promotion.promotion(str(project), version(project, train__skill=0.9))
    assert packages(store) == {"v0.0.2", "v0.0.3"}, "no more than serving.keep"
