"""The figures that stages write, and the difference between two sets of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.worktree import git

FOLDER = "metrics"
Figures = dict[str, float]


def read(folder: Path) -> Figures:
    """Every number below ``folder``/metrics, by file and key: ``matching.accuracy``.

    Raises:
        ValueError: a file is not JSON.
    """
    root = folder / FOLDER
    found: Figures = {}
    for path in sorted(root.rglob("*.json")):
        found |= _flat(_parsed(path.read_text(encoding="utf-8"), path), path.relative_to(root).with_suffix("").parts)
    return found


def at(project: Path, commit: str) -> Figures:
    """The same, as ``commit`` has them."""
    found: Figures = {}
    names = git(project, "ls-tree", "-r", "--name-only", commit, "--", FOLDER).splitlines()
    for name in (name for name in names if name.endswith(".json")):
        parts = Path(name).relative_to(FOLDER).with_suffix("").parts
        text = json.loads(git_file(project, commit, name))
        found |= _flat(text, parts)
    return found


def git_file(project: Path, commit: str, path: str) -> str:
    """The text of the file ``path`` at ``commit``."""
    return git(project, "show", f"{commit}:{path}")


def table(new: Figures, champion: Figures | None) -> list[dict[str, str]]:
    """A row a figure: its value, the champion's, the difference; empty where one side has none."""
    old = champion or {}
    rows = []
    for name in sorted(new.keys() | old.keys()):
        difference = new[name] - old[name] if name in new and name in old else None
        rows.append(
            {
                "metric": name,
                "this run": _shown(new.get(name)),
                "champion": _shown(old.get(name)),
                "difference": "" if difference is None else "0" if not difference else f"{difference:+.6g}",
            }
        )
    return rows


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _parsed(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); run the stage that writes it again") from None


def _flat(value: Any, parts: tuple[str, ...]) -> Figures:
    if isinstance(value, bool) or value is None:
        return {}
    if isinstance(value, int | float):
        return {".".join(parts): float(value)}
    if isinstance(value, Mapping):
        return {key: each for name, item in value.items() for key, each in _flat(item, (*parts, str(name))).items()}
    if isinstance(value, list):
        return {
            key: each for place, item in enumerate(value) for key, each in _flat(item, (*parts, str(place))).items()
        }
    return {}
