"""Presets: the same stages on other data or at another size, apart from the user's own work.

A preset is an overlay of ``params.yaml`` (see ``vlp.overlays``): the file ``presets/<name>.yaml``.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from vlp import commands
from vlp.overlays import apply, nearest

PARAMS_FILE = "params.yaml"
LOCK_FILE = "dvc.lock"
METRICS_FOLDER = "metrics"

logger = logging.getLogger(__name__)


class PresetError(ValueError):
    """There is no such preset, or its run cannot start or did not end well."""


def names(project: Path) -> list[str]:
    """The presets of ``project``, sorted."""
    return sorted(path.stem for path in (project / "presets").glob("*.yaml"))


def find(project: Path, name: str) -> Path:
    """The file of the preset ``name``.

    Raises:
        PresetError: there is none; the message lists those there are.
    """
    known = names(project)
    if name not in known:
        raise PresetError(f"presets/{name}.yaml: no such preset{nearest(name, known)}")
    return project / "presets" / f"{name}.yaml"


def run(project: Path, name: str, root: Path | None, settings: Sequence[str], targets: Sequence[str]) -> Path:
    """Run the stages of ``project``'s last commit with the preset ``name``, in a git worktree of their own.

    The worktree, ``runs/<name>``, shares DVC's cache with the project; the project's own ``params.yaml``,
    ``dvc.lock`` and metrics stay as they are. A second run goes on in the same worktree, brought to the last
    commit, so that only what changed runs again.

    Args:
        project: the root of the git repository, with ``dvc.yaml``, ``params.yaml`` and ``presets/``.
        name: the preset; its file may be uncommitted.
        root: the folder of raw files, for ``ingest.root``; None leaves the preset's.
        settings: ``key.path=value``, applied after the preset.
        targets: the stages to run; none for all.

    Returns:
        The worktree.

    Raises:
        PresetError: the preset, the folder or the repository is not there, or the stages fail.
    """
    overlay = find(project, name)
    if root is not None and not root.is_dir():
        raise PresetError(f"{root}: no such folder, given as the preset's root")
    if not (project / ".git").exists():
        raise PresetError(f"{project}: not the root of a git repository, of whose last commit a run is made")
    _warn_of_changes(project, overlay)
    worktree = project / "runs" / name
    _bring_to_head(project, worktree)
    rooted = [f"ingest.root={json.dumps(str(root.resolve()))}"] if root is not None else []
    apply(overlay, [*rooted, *settings], worktree / PARAMS_FILE)
    _dvc(worktree, "repro", *targets)
    return worktree


def _git(folder: Path, *arguments: str) -> str:
    try:
        return commands.output(folder, "git", *arguments)
    except commands.CommandError as error:
        raise PresetError(str(error)) from None


def _changed(folder: Path) -> list[str]:
    """What differs from the last commit, as paths below ``folder``, new files included."""
    lines = _git(folder, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all").split("\0")
    return [line[3:] for line in lines if line]


def _warn_of_changes(project: Path, overlay: Path) -> None:
    left_out = [path for path in _changed(project) if project / path != overlay]
    if left_out:
        shown = ", ".join(left_out[:5]) + (", …" if len(left_out) > 5 else "")
        logger.warning(
            "the run is of the last commit: %d uncommitted changes are not part of it: %s", len(left_out), shown
        )


def _bring_to_head(project: Path, worktree: Path) -> None:
    """Make the worktree, or bring it to the project's last commit with its own results kept."""
    head = _git(project, "rev-parse", "HEAD").strip()
    if not (worktree / ".git").exists():
        _git(project, "worktree", "prune")
        _git(project, "worktree", "add", "--detach", str(worktree), head)
        _remove(worktree, _results(worktree))  # those of the commit's own params.yaml
        _share_cache(project, worktree)
        return
    if edited := [path for path in _changed(worktree) if path != PARAMS_FILE and not _is_result(path)]:
        raise PresetError(
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


def _environment(project: Path) -> dict[str, str]:
    """This process's environment with this interpreter's commands and ``project``'s own code first."""
    code = [str(project / "src"), os.environ.get("PYTHONPATH", "")]
    return commands.environment(PYTHONPATH=os.pathsep.join(part for part in code if part))


def _share_cache(project: Path, worktree: Path) -> None:
    local = Path(".dvc") / "config.local"  # remotes and credentials of this machine
    if (project / local).exists():
        shutil.copy(project / local, worktree / local)
    cache = _dvc(project, "cache", "dir", capture=True).strip()
    _dvc(worktree, "cache", "dir", "--local", cache, capture=True)


def _dvc(folder: Path, *arguments: str, capture: bool = False) -> str:
    command = ["dvc", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=_environment(folder),
        text=True,
        check=False,
        stdout=subprocess.PIPE if capture else None,
    )
    if done.returncode:
        raise PresetError(f"{' '.join(command)}: failed in {folder}, for the reason above (status {done.returncode})")
    return done.stdout or ""
