"""Each run in a git worktree of its own, which shares DVC's cache and is always removed.

Two runs so never wait for one lock, and the files of whoever works in the project are never touched.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dvc.repo import Repo
from prefect.logging import get_logger

from flows import commands, secrets
from vlp.commands import without_hooks

RUNS = Path("runs") / "flows"
"""Where worktrees are made, below the project; git and DVC ignore it."""
CACHE_LOCK = Path("runs") / "cache.lock"
"""Runs share it; what removes data from the cache has it alone."""
AUTHOR, EMAIL = "vlp flows", "flows@localhost"
RESULTS = ("dvc.lock", "params.yaml", "metrics")
"""What a run writes and git keeps, besides the data it was given."""


def git(folder: Path, *arguments: str) -> str:
    """What ``git arguments`` says in ``folder`` on standard output, all of it but the last line's end; without hooks.

    Raises:
        commands.CommandError: it failed, for the reason that it gives on standard error.
    """
    command = ["git", *arguments]
    own = secrets.without(os.environ) | secrets.of_git(os.environ) | without_hooks(os.environ)
    own["GIT_TERMINAL_PROMPT"] = "0"
    done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise commands.CommandError(command, done.returncode, secrets.hide(done.stderr))
    return done.stdout.rstrip("\n")


@dataclass(frozen=True, slots=True)
class Worktree:
    """One run's checkout: ``folder`` holds ``commit`` of ``project``."""

    project: Path
    folder: Path
    commit: str

    def record(self, message: str, branch: str, *paths: str) -> str | None:
        """Commit the results and ``paths``, as ``branch``; None where nothing differs from the last commit.

        Returns:
            The new commit, a child of ``commit``.
        """
        kept = [path for path in (*RESULTS, *paths) if (self.folder / path).exists()]
        git(self.folder, "add", "--all", "--", *kept)
        if not git(self.folder, "diff", "--cached", "--name-only"):
            return None
        author = ("-c", f"user.name={AUTHOR}", "-c", f"user.email={EMAIL}", "-c", "commit.gpgsign=false")
        git(self.folder, *author, "commit", "--quiet", "--no-verify", "--message", message)
        made = git(self.folder, "rev-parse", "HEAD")
        git(self.project, "branch", "--force", branch, made)
        return made


@contextmanager
def worktree(project: Path, revision: str = "HEAD") -> Iterator[Worktree]:
    """A worktree of ``project`` at ``revision`` with the data that DVC's cache has; gone afterwards, whatever happens.

    Raises:
        commands.CommandError: there is no such repository or revision, or DVC cannot read it.
    """
    prune(project)
    commit = git(project, "rev-parse", "--verify", f"{revision}^{{commit}}")
    folder = project / RUNS / uuid.uuid4().hex[:12]
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Held until this process ends, however it ends: an unlocked one is a dead run's. So it is locked, then named.
    unnamed = folder.with_suffix(".new")
    with (project / CACHE_LOCK).open("w") as shared, unnamed.open("w") as lock:
        fcntl.flock(shared, fcntl.LOCK_SH)
        fcntl.flock(lock, fcntl.LOCK_EX)
        unnamed.rename(_lock_of(folder))
        try:
            git(project, "worktree", "add", "--quiet", "--detach", str(folder), commit)
            _share_cache(project, folder)
            yield Worktree(project, folder, commit)
        finally:
            _remove(project, folder)


@contextmanager
def nothing_runs(project: Path) -> Iterator[bool]:
    """Whether no run has a worktree; if so, the next one waits until the block ends."""
    (project / CACHE_LOCK).parent.mkdir(parents=True, exist_ok=True)
    with (project / CACHE_LOCK).open("w") as shared:
        try:
            fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def prune(project: Path) -> list[str]:
    """Remove what runs left that were killed outright; the names of those.

    One that will not go is told in the log, and keeps nobody from a run of their own.
    """
    removed = []
    for lock in sorted((project / RUNS).glob("*.lock")):
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            folder = lock.with_suffix("")
            try:
                _remove(project, folder)
            except OSError as error:
                get_logger("flows").error("%s: left by a killed run, and cannot be removed: %s", folder, error)
                continue
            removed.append(lock.stem)
    return removed


def _lock_of(folder: Path) -> Path:
    return folder.with_suffix(".lock")


def _remove(project: Path, folder: Path) -> None:
    if folder.exists():
        try:
            shutil.rmtree(folder)
        except PermissionError:  # of a folder within that a stage, or somebody's data, made read-only
            open_folders(folder)
            shutil.rmtree(folder)
    git(project, "worktree", "prune")
    _lock_of(folder).unlink(missing_ok=True)


def open_folders(top: Path) -> None:
    """Let their owner list and change ``top`` and all folders below it, behind no link."""
    top.chmod(top.stat().st_mode | stat.S_IRWXU)
    for folder, inner, _ in os.walk(top):
        for path in (Path(folder, name) for name in inner):  # before the walk goes into it
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | stat.S_IRWXU)


def _share_cache(project: Path, folder: Path) -> None:
    """The project's remotes, credentials and cache; outs as links, so that a checkout costs no copy of the data.

    A linked file is read-only, and stages replace files whole, so that the cache cannot be written through one.
    """
    local = Path(".dvc") / "config.local"
    if (project / local).exists():
        shutil.copy(project / local, folder / local)
    with Repo(str(project)) as repo:
        cache = repo.cache.local_cache_dir
    with Repo(str(folder)) as repo, repo.config.edit("local") as settings:
        settings["cache"] |= {"dir": cache, "type": ["reflink", "hardlink", "copy"]}
    commands.run(["dvc", "checkout", "--allow-missing"], folder, environment=environment(folder))


def environment(folder: Path) -> dict[str, str]:
    """The environment of ``dvc`` and of the stages in ``folder``: its own code first, no prompt, no telemetry."""
    return commands.python_environment(folder) | {"DVC_NO_ANALYTICS": "1", "GIT_TERMINAL_PROMPT": "0"}
