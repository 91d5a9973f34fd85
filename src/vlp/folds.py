"""Cross-validation in earnest: the whole pipeline anew for every fold, pre-training included.

A fold is a run of the last commit with another split, in a worktree of its own: its test split is one n-th of the
groups, and no group is in two of them (``split.turn``). What does not hang on the split comes from DVC's cache; a
second call runs only what is missing. The cheap way, a linear head on frozen features: ``evaluate.cross_validation``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

from vlp import worktrees
from vlp.files import write_json
from vlp.overlays import apply
from vlp.params import read

RESULTS = Path("runs") / "folds" / "metrics.json"


class FoldsError(ValueError):
    """A cross-validation that cannot be run as asked."""


def run(project: Path, folds: int, tasks: Sequence[str], settings: Sequence[str]) -> dict[str, Any]:
    """Run the pipeline once a fold, and gather the figures.

    Args:
        project: the root of the git repository.
        folds: n.
        tasks: which are evaluated; all of ``params.yaml`` if empty.
        settings: ``key.path=value``, for every fold.

    Returns:
        ``{task: {figure: {"mean", "std", "folds"}}}``, which is also written to ``runs/folds/metrics.json``.

    Raises:
        FoldsError: fewer than two folds, or a task that ``params.yaml`` has not.
        WorktreeError: a run failed; those before it are kept.
    """
    if folds < 2:
        raise FoldsError(f"{folds} folds: two or more are needed, else nothing is left to learn from")
    known = list(read(project / worktrees.PARAMS_FILE)["tasks"])
    if unknown := sorted(set(tasks) - set(known)):
        raise FoldsError(f"{', '.join(unknown)}: no such task in params.yaml, which has {', '.join(known)}")
    _check(project, settings)
    wanted = list(dict.fromkeys(tasks)) or known
    each = [_fold(project, number, folds, wanted, settings) for number in range(folds)]
    found = {task: _summary([one[task] for one in each]) for task in wanted}
    write_json(project / RESULTS, found)
    return found


def _check(project: Path, settings: Sequence[str]) -> None:
    """Refuse what the folds decide.

    Raises:
        FoldsError: a setting changes the shares of the splits.
        OverlayError: a setting cannot be applied.
    """
    with TemporaryDirectory() as folder:
        tried = Path(shutil.copy(project / worktrees.PARAMS_FILE, folder))
        apply(None, settings, tried)
        before, after = (read(path)["split"] for path in (project / worktrees.PARAMS_FILE, tried))
    for name in ("train", "test", "turn", "official"):
        if after.get(name) != before.get(name):
            raise FoldsError(f"--set split.{name}: the folds decide it; leave it out (--folds says how many there are)")


def _fold(
    project: Path, number: int, folds: int, tasks: Sequence[str], settings: Sequence[str]
) -> dict[str, dict[str, Any]]:
    worktree = project / "runs" / "folds" / f"{number + 1}-of-{folds}"
    with worktrees.alone(worktree):
        worktrees.at_head(project, worktree)
        _reproduce(worktree, number, folds, tasks, settings)
        folder = worktree / worktrees.METRICS_FOLDER
        return {task: json.loads((folder / f"{task}.json").read_text(encoding="utf-8")) for task in tasks}


def _reproduce(worktree: Path, number: int, folds: int, tasks: Sequence[str], settings: Sequence[str]) -> None:
    apply(None, settings, worktree / worktrees.PARAMS_FILE)
    validation = read(worktree / worktrees.PARAMS_FILE)["split"]["validation"]
    shares = {"train": 1 - 1 / folds - validation, "validation": validation, "test": 1 / folds, "turn": number / folds}
    if shares["train"] <= 0:
        raise FoldsError(f"{folds} folds beside split.validation: {validation} leave nothing to train on")
    turned = [*(f"split.{name}={value!r}" for name, value in shares.items()), "split.official=ignore"]
    apply(None, turned, worktree / worktrees.PARAMS_FILE)
    worktrees.dvc(worktree, "repro", *(f"evaluate@{task}" for task in tasks))


def _summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean, standard deviation and the folds' own values of every number.

    A fold without it (a class that its test split lacks) has null among ``folds``, is left out of the mean, and counted
    by ``undefined_folds``; of one value there is no deviation.
    """
    tables = [dict(_numbers(run)) for run in runs]
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for table in tables for name in table):
        values = [table.get(name) for table in tables]
        known = [value for value in values if value is not None]
        found[name] = {"mean": fmean(known), "std": stdev(known) if len(known) > 1 else None, "folds": values}
        if len(known) < len(values):
            found[name]["undefined_folds"] = len(values) - len(known)
    return found


def _numbers(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if name == "cross_validation" or name.endswith("_ci95"):
            continue
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
