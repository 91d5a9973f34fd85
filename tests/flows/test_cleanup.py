"""What grows is cut back, and what somebody named stays."""

from __future__ import annotations

import fcntl
import os
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows import cleanup, settings, worktree
from flows.cleanup import Cleaned
from flows.registry import Registry
from flows.serving import Site
from flows.standing import FOLDER
from flows.worktree import CACHE_LOCK, git
from support import pipelines

LONG_AGO = {"GIT_COMMITTER_DATE": "2026-01-01T00:00:00", "GIT_AUTHOR_DATE": "2026-01-01T00:00:00"}


def clean(project: Path) -> Cleaned:
    return cleanup.clean(project, settings.load(project))


def results(project: Path, branch: str, skill: float, patch: pytest.MonkeyPatch | None = None) -> str:
    """A model of another parameter on a branch, of long ago if dates can be patched; the model's hash.

    The checkout is on main again.
    """
    with patch.context() if patch else nullcontext() as dates:
        for name, value in LONG_AGO.items() if dates else ():
            dates.setenv(name, value)
        git(project, "switch", "--quiet", "--create", branch)
        pipelines.change(project, "params.yaml", train__skill=skill)
        subprocess.run(["dvc", "repro", "--quiet", "train"], cwd=project, check=True)
        pipelines.commit(project, branch)
    lock = YAML(typ="safe", pure=True).load((project / "dvc.lock").read_text(encoding="utf-8"))
    (found,) = (str(out["md5"]) for out in lock["stages"]["train"]["outs"])
    git(project, "switch", "--quiet", "main")
    subprocess.run(["dvc", "checkout", "--quiet"], cwd=project, check=True)
    return found


def cached(project: Path, md5: str) -> bool:
    return (project / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]).exists()


@pytest.mark.slow
def test_the_cache_loses_what_nobody_names_and_nothing_else(project, monkeypatch):
    tagged = results(project, "tagged", 0.11, monkeypatch)
    git(project, "tag", "vlp@v0.0.1", "tagged")
    branched = results(project, "branched", 0.12, monkeypatch)
    gone = results(project, "gone", 0.13, monkeypatch)
    abroad = results(project, "abroad", 0.14, monkeypatch)
    git(project, "worktree", "add", "--quiet", "--detach", str(project.parent / "abroad"), "abroad")
    git(project, "branch", "--delete", "--force", "tagged", "gone", "abroad")
    assert all(cached(project, each) for each in (tagged, branched, gone, abroad))

    found = clean(project)
    assert [cached(project, each) for each in (tagged, branched, gone, abroad)] == [True, True, False, True]
    assert found.cache_bytes > 0
    assert found.left == []
    assert subprocess.run(["dvc", "status", "--quiet"], cwd=project, check=False).returncode == 0
    assert clean(project) == Cleaned(), "a second time finds nothing"
    for name in ("vlp@v0.0.1", "branched", "main"):
        git(project, "switch", "--quiet", "--detach", name)
        subprocess.run(["dvc", "checkout", "--quiet"], cwd=project, check=True)


def test_young_commits_keep_their_data_and_so_does_a_cache_that_others_use(project, monkeypatch, tmp_path):
    young = results(project, "young", 0.2)
    git(project, "merge", "--quiet", "--ff-only", "young")
    git(project, "checkout", "--quiet", "HEAD^", "--", "params.yaml", "dvc.lock", "metrics")
    pipelines.commit(project, "and back")
    git(project, "branch", "--delete", "--force", "young")
    clean(project)
    assert cached(project, young), "a commit of today, though no tip of a branch"

    gone = results(project, "gone", 0.13, monkeypatch)
    git(project, "branch", "--delete", "--force", "gone")
    shared = tmp_path / "shared"
    (project / ".dvc" / "cache").rename(shared)
    subprocess.run(["dvc", "cache", "dir", "--local", str(shared)], cwd=project, check=True)
    assert "others may need what is in it" in clean(project).left[0]
    assert (shared / "files" / "md5" / gone[:2] / gone[2:]).exists()


def test_a_young_run_keeps_its_branch_and_its_data_however_many_came_after(project):
    pipelines.change(project, "flows/config.yaml", retrain__keep=1)
    pipelines.commit(project)
    first = results(project, "runs/first", 0.2)
    for name in ("runs/second", "runs/third"):
        (project / "note").write_text(name)
        pipelines.commit(project)
        git(project, "branch", name)
    assert clean(project).branches == []
    assert cached(project, first)


def test_while_a_run_is_under_way_the_cache_is_left_alone(project, monkeypatch):
    gone = results(project, "gone", 0.13, monkeypatch)
    git(project, "branch", "--delete", "--force", "gone")
    with worktree.worktree(project):
        assert "a run is under way" in clean(project).left[0]
    assert cached(project, gone)
    with (project / CACHE_LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody holds it any more


def test_a_log_keeps_its_end_and_who_writes_it_goes_on(project):
    pipelines.change(project, "flows/config.yaml", cleanup__log_mb=0.001, cleanup__cache="off")
    log = project / FOLDER / "server.log"
    log.parent.mkdir(parents=True)
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 1000)
        assert clean(project).logs == ["server.log"]
        writer.write(b"new\n")
    assert log.stat().st_size == 1004
    assert log.read_bytes().endswith(b"old\nnew\n")


def test_old_bundles_go_and_those_in_use_stay(project):
    registry, site = Registry(project, "vlp"), Site(project, settings.load(project).serving)
    for number in range(5):
        (project / "note").write_text(str(number))
        version = registry.register(pipelines.commit(project))
        folder = site.folder / "versions" / version.name
        folder.mkdir(parents=True)
        os.utime(folder, (number, number))
        if number in (0, 4):
            registry.assign(version)
    pipelines.change(project, "flows/config.yaml", cleanup__cache="off")
    assert set(clean(project).versions) == {"v0.0.2", "v0.0.3"}
    assert {path.name for path in (site.folder / "versions").iterdir()} == {"v0.0.1", "v0.0.4", "v0.0.5"}
