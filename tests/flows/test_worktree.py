"""A run's worktree shares the cache, touches nobody's files, and is gone afterwards."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows import worktree as worktrees
from flows.commands import CommandError
from flows.worktree import RUNS, git, worktree
from support import pipelines


def left(project: Path) -> list[str]:
    listed = git(project, "worktree", "list", "--porcelain").count("worktree ") - 1
    return [path.name for path in (project / RUNS).glob("*")] + ["registered"] * listed


@pytest.mark.slow
def test_it_holds_the_revision_and_its_data_whatever_the_checkout_holds(project):
    pipelines.change(project, "params.yaml", train__skill=0.1)
    with worktree(project) as tree:
        assert (tree.folder / "models" / "bundle" / "bundle.json").exists()
        assert "skill: 0.7" in (tree.folder / "params.yaml").read_text()
        assert len(left(project)) == 3
        assert subprocess.run(["dvc", "status", "--quiet"], cwd=tree.folder, check=False).returncode == 0
    assert left(project) == []
    assert git(project, "status", "--short").split() == ["M", "params.yaml"]


def test_its_outs_are_links_into_the_cache(project):
    with worktree(project) as tree:
        out = tree.folder / "models" / "bundle" / "bundle.json"
        assert out.stat().st_nlink > 1 or out.stat().st_blocks == 0


def test_results_leave_as_a_commit_and_a_branch(project):
    head = git(project, "rev-parse", "HEAD")
    with worktree(project) as tree:
        assert tree.record("nothing", "runs/nothing") is None
        pipelines.change(tree.folder, "params.yaml", train__skill=0.9)
        (tree.folder / "stray.txt").write_text("not a result")
        made = tree.record("Better", "runs/better")
    assert made is not None
    assert git(project, "rev-parse", "runs/better", "runs/better^").split() == [made, head]
    assert git(project, "diff", "--name-only", head, made) == "params.yaml"
    assert git(project, "rev-parse", "HEAD") == head


def test_a_failure_inside_removes_it_too(project):
    with pytest.raises(RuntimeError, match="inside"), worktree(project):
        raise RuntimeError("inside")
    assert left(project) == []
    with pytest.raises(CommandError, match="no-such-branch"), worktree(project, "no-such-branch"):
        pass
    assert left(project) == []


@pytest.mark.slow
def test_what_a_killed_run_left_goes_with_the_next_and_a_running_one_stays(project):
    code = (
        "import os, sys; from pathlib import Path; from flows.worktree import worktree\n"
        "with worktree(Path(sys.argv[1])) as tree: print(tree.folder.name, flush=True); os.kill(os.getpid(), 9)"
    )
    path = os.pathsep.join([str(pipelines.PROJECT), os.environ["PYTHONPATH"]])
    killed = subprocess.run(
        [sys.executable, "-c", code, str(project)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    name = killed.stdout.strip()
    assert (project / RUNS / name / "dvc.yaml").exists(), killed.stderr
    with worktree(project) as first:
        assert not (project / RUNS / name).exists()
        assert worktrees.prune(project) == []
        assert first.folder.exists()
    assert left(project) == []


def test_a_folder_that_may_not_be_changed_goes_with_the_others(project, monkeypatch):
    """Root may remove it in any case: so its mode is asked where anybody else would be refused."""
    real = shutil.rmtree

    def as_anybody(folder: Path) -> None:
        if any(path.is_dir() and not path.stat().st_mode & 0o200 for path in [folder, *folder.rglob("*")]):
            raise PermissionError(13, "Permission denied", str(folder))
        real(folder)

    monkeypatch.setattr(shutil, "rmtree", as_anybody)
    with worktree(project) as tree:
        (tree.folder / "kept" / "inner").mkdir(parents=True)
        (tree.folder / "kept" / "inner" / "file").touch()
        (tree.folder / "link").symlink_to(project / "data")
        for folder in (tree.folder / "kept" / "inner", tree.folder / "kept"):
            folder.chmod(0o555)
    assert left(project) == []


def test_what_a_killed_run_left_and_will_not_go_is_named_and_keeps_nobody_from_a_run(project, monkeypatch, caplog):
    stays, goes = project / RUNS / "a0", project / RUNS / "b0"
    for folder in (stays, goes):
        folder.mkdir(parents=True)
        folder.with_suffix(".lock").touch()
    real = shutil.rmtree

    def of_another_user(folder: Path) -> None:
        if folder == stays:
            raise PermissionError(1, "Operation not permitted", str(folder))
        real(folder)

    monkeypatch.setattr(shutil, "rmtree", of_another_user)
    monkeypatch.setattr(logging.getLogger("prefect"), "propagate", True)
    assert worktrees.prune(project) == ["b0"]
    assert f"{stays}: left by a killed run, and cannot be removed: [Errno 1]" in caplog.text
    with worktree(project) as tree:
        assert (tree.folder / "dvc.yaml").exists()
    assert sorted(left(project)) == ["a0", "a0.lock"]


def test_what_git_says_is_whole_and_nothing_else(project):
    lines = "".join(f"{number}\n" for number in range(2000))
    (project / "long").write_text(lines)
    pipelines.commit(project)
    assert git(project, "show", "HEAD:long") + "\n" == lines
    git(project, "config", "advice.detachedHead", "true")
    assert git(project, "switch", "--detach", "HEAD") == "", "what it says on standard error is no answer"


def test_the_users_hooks_do_not_run_in_it(project, monkeypatch):
    subprocess.run(["dvc", "install"], cwd=project, check=True)
    hooks = project / ".git" / "hooks"
    (hooks / "post-commit").write_text("#!/bin/sh\necho ran >> runs/hooks\n")
    (hooks / "post-commit").chmod(0o755)
    for name, value in (("COUNT", "1"), ("KEY_0", "advice.detachedHead"), ("VALUE_0", "false")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    with worktree(project) as tree:
        assert (tree.folder / "models" / "bundle" / "bundle.json").exists()
        pipelines.change(tree.folder, "params.yaml", train__skill=0.9)
        assert tree.record("Better", "runs/better") is not None
        assert not (tree.folder / "runs" / "hooks").exists()
