"""The flow ``retrain``: new data → all stages → champion against challenger → promotion, or a report why not.

Scheduled, and triggered when data arrives (prefect.yaml). Data that fails its validation stops the run at that stage:
the report is kept, nothing else changes, and the same data is not tried again. No new data: nothing runs.

    python -m flows.retrain [--force]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dvc.api
from dvc.exceptions import DvcException
from prefect import flow
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows import artifacts, commands, gate, incoming, metrics, notifications, settings, stages, standing
from flows.commands import CommandError
from flows.gate import Side, Verdict
from flows.incoming import MissingDataError, ReplacedImportError, UncopiedError
from flows.pipeline import produce
from flows.promotion import LateError, promote, still
from flows.registry import Registry
from flows.serving import BusyError
from flows.settings import Settings
from flows.stages import StageError
from flows.worktree import Worktree, git, worktree

TRIES = 3
"""Runs with the same data that may end by a signal, a lock or the network before that is their conclusion."""
PREDICTIONS = "reports/evaluation/{task}/predictions.jsonl"


@dataclass(frozen=True, slots=True)
class Retrained:
    """How a retraining ended: ``outcome`` is ``nothing new``, ``unchanged``, ``refused`` or ``promoted``."""

    outcome: str
    commit: str | None = None
    version: str | None = None
    verdict: Verdict | None = None


@flow(
    name="retrain",
    task_runner=stages.RUNNER,
    on_failure=[notifications.on_failure],
    on_crashed=[notifications.on_failure],
)
def retrain(project: str = ".", force: bool = False) -> Any:
    """Train on what has arrived, and promote the result if it is better.

    Args:
        project: the git repository.
        force: also without new data.
    """
    root = Path(project).resolve()
    chosen = settings.load(root)
    found = _retrain(root, chosen, force)
    get_run_logger().info("%s", found.outcome)
    return Completed(name=found.outcome.capitalize(), data=found, message=found.outcome)


def _retrain(root: Path, chosen: Settings, force: bool) -> Retrained:
    print_ = incoming.fingerprint(root / chosen.retrain.incoming)
    known = incoming.seen(root)
    # Imports are somewhere else: only asking there tells.
    if not force and not chosen.retrain.update_imports and known.get("fingerprint") == print_:
        return Retrained("nothing new")
    with commands.none_left(), worktree(root, chosen.retrain.revision) as tree:
        content = _brought(tree, chosen, print_)
        if not force and content == _known_content(root, chosen, known):
            incoming.remember(root, print_, content, known.get("outcome", "promoted"))
            return Retrained("nothing new")
        try:
            outcome = produce(tree, chosen, "Retrained on what arrived", paths=[chosen.retrain.incoming])
        except StageError as error:
            # Killed or cut off, it came to no conclusion, and the next run repeats it: but not for ever.
            if not error.passing or incoming.tried(root, print_) >= TRIES:
                incoming.remember(root, print_, content, "failed")
            raise
        candidate = outcome.commit or tree.commit
        if _in_production(root, chosen, candidate):
            incoming.remember(root, print_, content, "unchanged")
            return Retrained("unchanged")
        try:
            verdict = _judged(tree, chosen, outcome.branch or candidate[:12])
        except ValueError:  # a metrics file that is no JSON will be none the next time
            incoming.remember(root, print_, content, "failed")
            raise
    artifacts.verdict(verdict.text())
    if not verdict.promote:
        incoming.remember(root, print_, content, "refused")
        notifications.tell(chosen.notifications, "refused", f"{verdict.challenger} is not promoted", verdict.text())
        return Retrained("refused", candidate, None, verdict)
    try:
        version = promote(root, candidate, chosen, still(verdict.champion))
    except (BusyError, LateError):
        raise  # the next run tries again, and is judged against what is in production then
    except Exception:
        # What cannot be served now is not tried again every few minutes; more data, or --force, tries.
        incoming.remember(root, print_, content, "rolled back")
        raise
    incoming.remember(root, print_, content, "promoted")
    return Retrained("promoted", candidate, version.name, verdict)


def _brought(tree: Worktree, chosen: Settings, print_: str) -> str:
    """What has arrived, in the worktree; a hash of its content. What only a person can mend is tried once a day."""
    logger, folder = get_run_logger(), chosen.retrain.incoming
    try:
        return incoming.bring(
            tree, folder, chosen.retrain.update_imports, lambda left: logger.warning("%s: left out: %s", folder, left)
        )
    except (ReplacedImportError, MissingDataError, UncopiedError, CommandError, DvcException) as error:
        # It may be mended without a change of the folder, so that it is tried again: but not every few minutes.
        if isinstance(error, ReplacedImportError) or incoming.tried(tree.project, print_) >= TRIES:
            incoming.wait(tree.project, print_)
        raise


def _known_content(root: Path, chosen: Settings, known: dict[str, str]) -> str | None:
    """The data of the last conclusion; in a fresh clone, the champion's."""
    if found := known.get("content"):
        return found
    champion = Registry(root, chosen.artifact).champion()
    if champion is None:
        return None
    with worktree(root, champion.commit) as tree:
        return incoming.content(tree.folder / chosen.retrain.incoming)


def _in_production(root: Path, chosen: Settings, commit: str) -> bool:
    """Whether the results of ``commit`` are the champion's, to the last byte."""
    champion = Registry(root, chosen.artifact).champion()
    return champion is not None and not git(root, "diff", "--name-only", champion.commit, commit, "--", "dvc.lock")


def _judged(tree: Worktree, chosen: Settings, name: str) -> Verdict:
    """The gate's verdict on what the worktree holds."""
    tasks = sorted({wanted.task for wanted in chosen.gate.metrics})
    champion = Registry(tree.project, chosen.artifact).champion()
    mine = side(name, tasks, metrics.read(tree.folder), lambda path: (tree.folder / path).read_text(encoding="utf-8"))
    if champion is None:
        return gate.judge(mine, None, chosen.gate)
    commit = champion.commit
    old = metrics.at(tree.project, commit)
    theirs = side(champion.name, tasks, old, lambda path: dvc.api.read(path, repo=str(tree.project), rev=commit))
    return gate.judge(mine, theirs, chosen.gate)


def side(name: str, tasks: list[str], figures: metrics.Figures, read: Callable[[str], str]) -> Side:
    """One side of the comparison, its files read by ``read(path)``; one that cannot be read is the gate's to refuse."""
    found: dict[str, Any] = {}
    rows: dict[str, list[Any]] = {}
    unreadable: dict[str, str] = {}
    for task in tasks:
        for path in (f"metrics/{task}.json", PREDICTIONS.format(task=task)):
            try:
                text = read(path)
                if path.endswith(".jsonl"):
                    rows[task] = [json.loads(line) for line in text.split("\n") if line]
                else:
                    found[task] = json.loads(text)
            except (OSError, ValueError, DvcException, CommandError) as error:
                unreadable.setdefault(task, f"{path}: {error}")
    return Side(name=name, metrics=found, predictions=rows, figures=figures, unreadable=unreadable)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m flows.retrain", description=retrain.__doc__)
    parser.add_argument("--force", action="store_true", help="also without new data")
    arguments = parser.parse_args()
    try:
        with standing.server(Path.cwd()):
            retrain(force=arguments.force)
    except (RuntimeError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
