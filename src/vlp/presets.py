"""Presets: the same stages on other data or at another size, apart from the user's own work.

A preset is an overlay of ``params.yaml`` (see ``vlp.overlays``): the file ``presets/<name>.yaml``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vlp import worktrees
from vlp.overlays import apply, nearest

_TAKEN = ("flows", "folds", "local", "reports", "serving", "tune")
"""Folders of ``runs/`` that are something else's."""


class PresetError(ValueError):
    """There is no such preset, or its run cannot start."""


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
        PresetError: the preset or the folder is not there.
        WorktreeError: the repository is not there, another run of the preset is under way, or the stages fail.
    """
    overlay = find(project, name)
    if name in _TAKEN:
        raise PresetError(f"presets/{name}.yaml: runs/{name} is for something else: give the preset another name")
    if root is not None and not root.is_dir():
        raise PresetError(f"{root}: no such folder, given as the preset's root")
    worktree = project / "runs" / name
    rooted = [f"ingest.root={json.dumps(str(root.resolve()))}"] if root is not None else []
    with worktrees.alone(worktree):
        worktrees.at_head(project, worktree, apart_from=[overlay])
        apply(overlay, [*rooted, *settings], worktree / worktrees.PARAMS_FILE)
        worktrees.dvc(worktree, "repro", *targets)
    return worktree
