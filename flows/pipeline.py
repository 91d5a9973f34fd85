"""The flow ``pipeline``: a revision's stages, in a worktree of their own; results leave it as a commit and as data.

    python -m flows.pipeline [--preset NAME] [--set KEY=VALUE] [STAGE …]

Works with the server that PREFECT_API_URL names, and with a temporary one without it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from prefect import flow
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from flows import artifacts, commands, names, notifications, settings, stages, standing
from flows.registry import Registry
from flows.settings import Settings
from flows.stages import StageError, Status
from flows.worktree import Worktree, git, worktree
from vlp import overlays

BRANCHES = "runs/"
"""Prefix of the branches that results are left on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a run left: its results as a commit on ``branch``, or None where the revision's own are still true."""

    stages: dict[str, Status]
    commit: str | None
    branch: str | None


@flow(
    name="pipeline",
    task_runner=stages.RUNNER,
    on_failure=[notifications.on_failure],
    on_crashed=[notifications.on_failure],
)
def pipeline(
    project: str = ".",
    revision: str = "HEAD",
    preset: str | None = None,
    overrides: Sequence[str] = (),
    targets: Sequence[str] = (),
) -> Outcome:
    """Bring a revision's stages up to date, apart from everybody's work.

    Args:
        project: the git repository.
        revision: the commit whose code and parameters run.
        preset: a file of presets/, merged into its params.yaml.
        overrides: ``key.path=value``, after the preset.
        targets: stages; these and what they need. None for all.
    """
    root = Path(project).resolve()
    chosen = settings.load(root)
    with commands.none_left(), worktree(root, revision) as tree:
        if preset or overrides:
            overlay = tree.folder / "presets" / f"{preset}.yaml" if preset else None
            overlays.apply(overlay, list(overrides), tree.folder / "params.yaml")
        return produce(tree, chosen, f"Run of {tree.commit[:12]}", targets=tuple(targets))


def produce(
    tree: Worktree, chosen: Settings, message: str, *, paths: Sequence[str] = (), targets: tuple[str, ...] = ()
) -> Outcome:
    """Run the stages in ``tree``, publish what they found, commit the results with ``paths``.

    Raises:
        StageError: stages failed; the validation report is kept all the same.
    """
    with run_name(tree.project) as run:
        return _produced(tree, chosen, message, run, paths, targets)


def _produced(
    tree: Worktree, chosen: Settings, message: str, run: str, paths: Sequence[str], targets: tuple[str, ...]
) -> Outcome:
    logger = get_run_logger()
    artifacts.parameters(tree.folder, tree.commit)
    try:
        statuses = stages.run(tree.folder, chosen, targets)
    except StageError:  # what is left is of the stages that came so far
        _reports(tree, chosen, run)
        raise
    artifacts.stages(statuses)
    artifacts.figures(tree.folder, Registry(tree.project, chosen.artifact))
    _reports(tree, chosen, run)
    commit = tree.record(message, BRANCHES + run, *paths)
    for stage, status in statuses.items():
        logger.info("%s: %s", stage, status)
    if commit is None:
        logger.info("nothing changed: the results of %s are still true", tree.commit[:12])
        return Outcome(stages=statuses, commit=None, branch=None)
    drop_old_branches(tree.project, chosen.retrain.keep, chosen.cleanup.keep_days)
    logger.info("results: git switch %s && dvc checkout", BRANCHES + run)
    return Outcome(stages=statuses, commit=commit, branch=BRANCHES + run)


def _reports(tree: Worktree, chosen: Settings, run: str) -> None:
    artifacts.validation(tree.folder)
    artifacts.reports(tree.folder, tree.project, run, chosen.retrain.keep)


@contextmanager
def run_name(project: Path) -> Iterator[str]:
    """The name of the flow run that this is part of, as that of its branch and its folder of reports.

    A person may have given it, in any letters, and more than once: no run's results take the place of another's. The
    folder is made at once, so that a run of the same name that begins meanwhile finds the name taken.
    """
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    name = names.plain(context.flow_run.name)
    reports = project / artifacts.REPORTS
    reports.mkdir(parents=True, exist_ok=True)
    if git(project, "for-each-ref", f"refs/heads/{BRANCHES}{name}") or not _made(reports / name):
        name = f"{name}-{context.flow_run.id.hex[:8]}"
        _made(reports / name)  # else by an earlier attempt of this very run
    try:
        yield name
    finally:
        with suppress(OSError):  # it holds reports, or the oldest runs' went meanwhile, and it with them
            (reports / name).rmdir()


def _made(folder: Path) -> bool:
    """Whether ``folder`` was not there and is made: of those who ask at once, one is told so."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def drop_old_branches(project: Path, keep: int, keep_days: int) -> list[str]:
    """Delete all but the newest ``keep`` branches of results, and return their names; a version keeps its tag.

    One whose commit is younger than ``keep_days`` stays, too: without it nothing would name the data, and the commit.
    """
    shown = "--format=%(committerdate:unix) %(refname:strip=2)"
    branches = git(project, "for-each-ref", "--sort=-creatordate", shown, f"refs/heads/{BRANCHES}").splitlines()
    # git deletes no branch that somebody has checked out.
    used = git(project, "worktree", "list", "--porcelain").splitlines()
    since = time.time() - timedelta(days=keep_days).total_seconds()
    old = [
        name
        for made, _, name in (branch.partition(" ") for branch in branches[keep:])
        if int(made) < since and f"branch refs/heads/{name}" not in used
    ]
    if old:
        git(project, "branch", "--delete", "--force", *old)
    return old


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m flows.pipeline", description=pipeline.__doc__)
    parser.add_argument("--revision", default="HEAD")
    parser.add_argument("--preset")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY.PATH=VALUE")
    parser.add_argument("targets", nargs="*", metavar="STAGE")
    arguments = parser.parse_args()
    try:
        with standing.server(Path.cwd()):
            pipeline(
                revision=arguments.revision,
                preset=arguments.preset,
                overrides=arguments.overrides,
                targets=arguments.targets,
            )
    except (StageError, commands.CommandError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
