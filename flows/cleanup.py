"""The flow ``cleanup``: what grows run by run is cut back, and nothing that somebody named is lost.

Worktrees of runs that were killed; branches and pages of all but the newest runs; bundles and bentos of versions long
replaced; logs; and of DVC's cache what no branch, no tag, no experiment, no worktree and no commit of the last weeks
names. Scheduled weekly (prefect.yaml).

    python -m flows.cleanup
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dvc.repo import Repo
from prefect import flow
from prefect.logging import get_run_logger

from flows import artifacts, commands, notifications, promotion, settings, standing, worktree
from flows.pipeline import drop_old_branches
from flows.registry import Registry
from flows.serving import BusyError, Site
from flows.settings import Settings
from flows.standing import FOLDER
from flows.worktree import git

LOG_TAIL = 1_000_000
"""Bytes of a log that was cut."""


@dataclass(slots=True)
class Cleaned:
    """What went. ``left`` says what was not looked at, and why."""

    worktrees: list[str] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    cache_bytes: int = 0
    left: list[str] = field(default_factory=list)


@flow(name="cleanup", on_failure=[notifications.on_failure], on_crashed=[notifications.on_failure])
def cleanup(project: str = ".") -> Cleaned:
    """Cut back what grows; a second time finds nothing."""
    root = Path(project).resolve()
    with commands.none_left():
        found = clean(root, settings.load(root))
    for line in found.left:
        get_run_logger().warning("left for the next time: %s", line)
    artifacts.outcome("cleanup", {name: value for name, value in asdict(found).items() if value})
    return found


def clean(root: Path, chosen: Settings) -> Cleaned:
    """The cleaning itself, within any flow or none."""
    found, keep = Cleaned(), chosen.retrain.keep
    found.worktrees = worktree.prune(root)
    found.branches = drop_old_branches(root, keep, chosen.cleanup.keep_days)
    found.reports = artifacts.drop_old_reports(root, keep)
    found.logs = [path.name for path in _logs(root) if _cut(path, int(1e6 * chosen.cleanup.log_mb))]
    site, registry = Site(root, chosen.serving), Registry(root, chosen.artifact)
    try:
        with site.locked():
            if registry.champion() is not None:
                found.versions = promotion.retire(site, registry)
    except BusyError as error:
        found.left.append(str(error))
    _collect(root, chosen, found)
    return found


def _collect(root: Path, chosen: Settings, found: Cleaned) -> None:
    """``dvc gc``, while no run is under way: what a run has made and not yet recorded would be nobody's."""
    if chosen.cleanup.cache == "off":
        return
    cache = cache_folder(root)
    if not cache.is_relative_to(root):
        found.left.append(f"{cache}: DVC's cache is not this project's own: others may need what is in it")
        return
    with worktree.nothing_runs(root) as alone:
        if not alone:
            found.left.append(f"{cache}: a run is under way")
            return
        before = size(cache)
        since = (datetime.now(UTC) - timedelta(days=chosen.cleanup.keep_days)).date().isoformat()
        named = ["--workspace", "--all-branches", "--all-tags", "--all-experiments", "--date", since]
        others = [str(each) for each in _worktrees(root)]
        command = ["dvc", "gc", "--force", *named, *(["--projects", *others] if others else [])]
        commands.run(command, root, environment=worktree.environment(root))
        found.cache_bytes = before - size(cache)


def cache_folder(root: Path) -> Path:
    """Where DVC's cache of the project is."""
    with Repo(str(root)) as repo:
        return Path(repo.cache.local_cache_dir).resolve()


def _worktrees(root: Path) -> list[Path]:
    """The other checkouts of the repository: what their ``dvc.lock`` names is in use, committed or not."""
    lines = git(root, "worktree", "list", "--porcelain").splitlines()
    folders = [Path(line.removeprefix("worktree ")) for line in lines if line.startswith("worktree ")]
    return [each for each in folders if (each / ".dvc").exists() and each.resolve() != root]


def size(folder: Path) -> int:
    """Bytes of all files in ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _logs(root: Path) -> Iterator[Path]:
    for folder in (root / FOLDER, Site(root, settings.load(root).serving).folder / "logs"):
        yield from sorted(folder.glob("*.log"))


def _cut(path: Path, most: int) -> bool:
    """Keep the end of a log of more than ``most`` bytes. Who writes it appends, and so goes on in the same file."""
    if path.stat().st_size <= most:
        return False
    with path.open("r+b") as log:
        log.seek(-min(LOG_TAIL, most), 2)
        kept = log.read()
        log.seek(0)
        log.truncate()
        log.write(kept)
    return True


def main() -> None:
    """The command line."""
    argparse.ArgumentParser(prog="python -m flows.cleanup", description=cleanup.__doc__).parse_args()
    try:
        with standing.server(Path.cwd()):
            cleanup()
    except (RuntimeError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
