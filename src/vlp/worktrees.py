"""Runs apart from the user's own work: git worktrees of the last commit that share DVC's cache."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vlp import commands

PARAMS_FILE = "params.yaml"
LOCK_FILE = "dvc.lock"
METRICS_FOLDER = "metrics"
LOCAL_CONFIG = Path(".dvc") / "config.local"
"""Remotes and credentials of this machine; in a worktree also where the project's cache is, the last thing it gets."""
_HALF_MADE = Path(".dvc") / "tmp" / "half-made"
"""In a worktree: it has the one and does not have the other yet."""

logger = logging.getLogger(__name__)


class WorktreeError(ValueError):
    """A run's worktree cannot be made, or what runs in it did not end well."""


def at_head(project: Path, worktree: Path, apart_from: Sequence[Path] = ()) -> Path:
    """Make ``worktree``, or bring it to the project's last commit with its own results kept.

    What the commit's ``.dvc`` files name (raw files below ``data/incoming``) comes from DVC's cache.

    Args:
        project: the root of the git repository.
        worktree: below ``runs/``.
        apart_from: files whose changes are part of the run though they are not committed.

    Returns:
        ``worktree``.

    Raises:
        WorktreeError: ``project`` is no repository, or the worktree was edited by hand.
    """
    if not (project / ".git").exists():
        raise WorktreeError(f"{project}: not the root of a git repository, of whose last commit a run is made")
    _warn_of_changes(project, apart_from)
    _bring_to_head(project, worktree)
    if tracked := [path for path in _git(worktree, "ls-files", "-z", "*.dvc").split("\0") if path]:
        dvc(worktree, "checkout", "--quiet", "--force", "--allow-missing", *tracked, capture=True)
    return worktree


@contextmanager
def alone(worktree: Path) -> Iterator[None]:
    """One run at a time in ``worktree``; the lock goes with the process that holds it.

    DVC records parameters when a stage has ended: whoever changed them meanwhile would be believed.

    Raises:
        WorktreeError: another run is under way.
    """
    worktree.parent.mkdir(parents=True, exist_ok=True)
    with (worktree.parent / f".{worktree.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorktreeError(f"{worktree}: another run is under way there") from None
        yield


def fresh(project: Path, worktree: Path) -> None:
    """Make ``worktree``, or bring it to the project's last commit exactly, with the data of it that DVC's cache has.

    Raises:
        WorktreeError: ``project`` is no repository, or git or DVC fails.
    """
    if not (project / ".git").exists():
        raise WorktreeError(f"{project}: not the root of a git repository, of whose last commit a run is made")
    _warn_of_changes(project, ())
    head = _git(project, "rev-parse", "HEAD").strip()
    if not _is_made(worktree):
        _add(project, worktree, head)
        _share_cache(project, worktree)
    _git(worktree, "checkout", "--quiet", "--force", "--detach", head)
    restore(worktree)
    dvc(worktree, "checkout", "--quiet", "--force", "--allow-missing", capture=True)


def restore(worktree: Path) -> None:
    """Bring every file that git tracks back to the worktree's commit, and remove new ones; ignored ones stay.

    Nothing may be running in it: locks that a killed git or DVC left behind are removed.
    """
    index = Path(_git(worktree, "rev-parse", "--git-path", "index.lock").strip())
    for lock in (worktree / index, worktree / ".dvc" / "tmp" / "rwlock"):
        lock.unlink(missing_ok=True)
    _git(worktree, "checkout", "--quiet", "--force", "HEAD", "--", ".")
    _git(worktree, "clean", "--quiet", "--force", "-d")


def dvc(folder: Path, *arguments: str, capture: bool = False) -> str:
    """Run ``dvc`` in ``folder`` with its own code first; what it says, where that is captured.

    Raises:
        WorktreeError: it failed.
    """
    command = ["dvc", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder),
        text=True,
        check=False,
        stdout=subprocess.PIPE if capture else None,
    )
    if done.returncode:
        raise WorktreeError(f"{' '.join(command)}: failed in {folder}, for the reason above (status {done.returncode})")
    return done.stdout or ""


def _git(folder: Path, *arguments: str) -> str:
    try:
        return commands.output(folder, "git", *arguments)
    except commands.CommandError as error:
        raise WorktreeError(str(error)) from None


def _changed(folder: Path) -> list[str]:
    """What differs from the last commit, as paths below ``folder``, new files included."""
    lines = _git(folder, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all").split("\0")
    return [line[3:] for line in lines if line]


def _warn_of_changes(project: Path, apart_from: Sequence[Path]) -> None:
    left_out = [path for path in _changed(project) if project / path not in apart_from]
    if left_out:
        shown = ", ".join(left_out[:5]) + (", …" if len(left_out) > 5 else "")
        logger.warning(
            "the run is of the last commit: %d uncommitted changes are not part of it: %s", len(left_out), shown
        )


def _bring_to_head(project: Path, worktree: Path) -> None:
    head = _git(project, "rev-parse", "HEAD").strip()
    if not _is_made(worktree):
        _add(project, worktree, head)
        _remove(worktree, _results(worktree))  # those of the commit's own params.yaml
        _share_cache(project, worktree)
        return
    if edited := [path for path in _changed(worktree) if path != PARAMS_FILE and not _is_result(path)]:
        raise WorktreeError(
            f"{worktree}: edited by hand: {', '.join(edited)}; commit the edits in {project} instead, or throw "
            f"this run away: git worktree remove --force {worktree}"
        )
    kept = {path: (worktree / path).read_bytes() for path in _results(worktree)}
    _git(worktree, "checkout", "--quiet", "--force", "--detach", head)
    _remove(worktree, _results(worktree))
    for path, content in kept.items():
        (worktree / path).parent.mkdir(parents=True, exist_ok=True)
        (worktree / path).write_bytes(content)


def _is_result(path: str) -> bool:
    return path == LOCK_FILE or path.startswith(METRICS_FOLDER + "/")


def _results(worktree: Path) -> list[str]:
    """The files that both a run and a commit write: ``dvc.lock`` and the metrics."""
    found = [worktree / LOCK_FILE, *(worktree / METRICS_FOLDER).rglob("*")]
    return [path.relative_to(worktree).as_posix() for path in found if path.is_file()]


def _remove(worktree: Path, paths: Iterable[str]) -> None:
    for path in paths:
        (worktree / path).unlink()


def environment(project: Path) -> dict[str, str]:
    """This process's environment with this interpreter's commands and ``project``'s own code first."""
    code = [str(project / "src"), os.environ.get("PYTHONPATH", "")]
    return commands.environment(PYTHONPATH=os.pathsep.join(part for part in code if part))


def _add(project: Path, worktree: Path, commit: str) -> None:
    """A worktree without the cache's address is one that a kill left half-made, or none yet."""
    _git(project, "worktree", "prune")
    if not (worktree / ".git").exists():
        _git(project, "worktree", "add", "--detach", str(worktree), commit)
    _git(worktree, "checkout", "--quiet", "--force", "--detach", commit)


def _is_made(worktree: Path) -> bool:
    return (worktree / LOCAL_CONFIG).exists() and not (worktree / _HALF_MADE).exists()


def _share_cache(project: Path, worktree: Path) -> None:
    cache = dvc(project, "cache", "dir", capture=True).strip()
    (worktree / _HALF_MADE).parent.mkdir(parents=True, exist_ok=True)
    (worktree / _HALF_MADE).touch()
    if (project / LOCAL_CONFIG).exists():
        shutil.copy(project / LOCAL_CONFIG, worktree / LOCAL_CONFIG)
    dvc(worktree, "cache", "dir", "--local", cache, capture=True)
    (worktree / _HALF_MADE).unlink()
