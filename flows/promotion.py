"""The flow ``promotion``: a commit becomes a version, its server is tested, gets the requests, is watched, is ``prod``.

Each step is a task inside one Prefect transaction, with a hook that takes it back: whatever fails, the version before
serves again, and no tag says otherwise. A process that is killed runs no hooks; ``recover`` puts things right before
the next promotion, rollback or start: the registry's ``prod`` is the truth, and what is served follows it.

    python -m flows.promotion COMMIT
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_logger, get_run_logger
from prefect.transactions import Transaction, transaction

from flows import artifacts, commands, logged, notifications, processes, settings, smoke, standing
from flows.registry import Registry, Version
from flows.serving import BUNDLE, PACKAGED, DamagedError, Site
from flows.settings import Settings
from flows.worktree import git, worktree

WATCH_EVERY_S = 2.0


class WatchError(RuntimeError):
    """A version failed while it was watched."""


class LateError(RuntimeError):
    """Another version came into production after it was decided to replace the one before."""


Still = Callable[[Version | None], None]
"""Told which version is in production, at a time when nobody else may change that; raises ``LateError`` where a
decision that was made before does not hold any more.
"""


def still(expected: str | None) -> Still:
    """That the version named ``expected``, or none, is in production."""

    def check(champion: Version | None) -> None:
        found = champion.name if champion else None
        if found != expected:
            raise LateError(
                f"{found or 'nothing'} is in production by now, and {expected or 'nothing'} was to be replaced: "
                "nothing is changed; decide again"
            )

    return check


@flow(name="promotion", on_failure=[notifications.on_failure], on_crashed=[notifications.on_failure])
def promotion(project: str = ".", commit: str = "HEAD") -> Version:
    """Put ``commit`` into production, or leave everything as it was.

    Args:
        project: the git repository.
        commit: holds the results of a run, as the flow ``pipeline`` commits them.
    """
    root = Path(project).resolve()
    return promote(root, git(root, "rev-parse", "--verify", f"{commit}^{{commit}}"), settings.load(root))


def promote(root: Path, commit: str, chosen: Settings, check: Still = lambda _: None) -> Version:
    """The promotion itself, within any flow.

    Raises:
        LateError: ``check`` finds that another version is to be replaced than was decided upon.
    """
    site, registry = Site(root, chosen.serving), Registry(root, chosen.artifact)
    with site.locked():
        champion = registry.champion()
        check(champion)
        _prepare(site, registry)
        try:
            with commands.none_left(), transaction():
                version = _register(registry, commit)
                _unpack(site, version)
                _package(site, version)
                _deploy(site, version)
                _assign(registry, version, champion)
        except BaseException as error:
            serving = site.target()
            text = f"{commit[:12]} is not in production: {error}; {serving or 'nothing'} serves"
            notifications.tell(chosen.notifications, "rolled_back", "Promotion rolled back", text)
            raise
        notifications.tell(chosen.notifications, "promoted", f"{version.name} is in production", f"commit {commit}")
        _tidy(site, registry)
        with logged.only("the front's address is not known, and so the outcome is not shown in Prefect"):
            artifacts.outcome("production", {"version": version.name, "commit": commit, "front": site.front().url})
        return version


def return_to(root: Path, version: Version, chosen: Settings, check: Still = lambda _: None) -> None:
    """Put a version that is registered already into production, by the same steps.

    Raises:
        LateError: as ``promote`` does.
    """
    site, registry = Site(root, chosen.serving), Registry(root, chosen.artifact)
    with site.locked():
        champion = registry.champion()
        check(champion)
        _prepare(site, registry)
        with commands.none_left(), transaction():
            _unpack(site, version)
            _deploy(site, version, watch=False)
            _assign(registry, version, champion)
        _tidy(site, registry)


def _tidy(site: Site, registry: Registry) -> None:
    """What was replaced goes; where it does not, that undoes no promotion, and the flow ``cleanup`` tries again."""
    with logged.only("versions that were replaced are not cleared away"):
        retire(site, registry)


def _prepare(site: Site, registry: Registry) -> None:
    """Put things right before another version is served. One in production that no longer starts is no obstacle,
    whatever is wrong with it: another version is the way out of that.
    """
    try:
        recover(site, registry)
    except Exception as error:  # noqa: BLE001 - a version may be broken in any way
        get_logger("flows").exception("what is in production cannot be served: %s", error)
        site.switch(None)
        site.front()


def recover(site: Site, registry: Registry) -> None:
    """Serve what the registry says is in production, and nothing else: what is left to do after a kill."""
    champion = registry.champion()
    if champion is not None:
        site.unpack(champion.name, champion.commit)
        site.start(champion.name)
    site.switch(champion.name if champion else None)
    for name in site.servers():
        if champion is None or name != champion.name:
            site.stop(name)
    site.front()


def missing(site: Site, registry: Registry) -> str | None:
    """What of that does not run, if anything: the front, or the server of the version in production."""
    if processes.read(site.folder / "front.json") is None:
        return "the front"
    champion = registry.champion()
    if champion is None:
        return None
    server = site.servers().get(champion.name)
    return None if server is not None and site.target() == champion.name else f"the server of {champion.name}"


def retire(site: Site, registry: Registry) -> list[str]:
    """End the servers of versions that are not in production, their requests over; drop old bundles and bentos.

    Returns:
        The versions whose bundle went.
    """
    champion = registry.champion()
    assert champion is not None
    for name in site.servers():
        if name != champion.name:
            _drain(site, name)
            site.stop(name)
    previous = registry.previous()
    old = site.surplus({champion.name} | ({previous.name} if previous else set()))
    for name in old:
        discard(site, name)
        site.drop(name)
    return old


def _drain(site: Site, version: str) -> None:
    deadline = time.monotonic() + smoke.TIMEOUT_S
    while site.counts(version)[2] and time.monotonic() < deadline:
        time.sleep(processes.POLL_S)


# Steps, each with the hook that takes it back. Prefect calls the hooks of steps that ended well: a step that fails
# leaves nothing of its own behind.


@task(name="register", cache_policy=NO_CACHE)
def _register(registry: Registry, commit: str) -> Version:
    known = {version.commit for version in registry.versions()}
    version = registry.register(commit)
    _remember("registered", None if commit in known else (registry, version))
    get_run_logger().info("%s is %s", commit[:12], version.name)
    return version


@_register.on_rollback
def _deregister(steps: Transaction) -> None:
    if registered := steps.get("registered", None):
        registry, version = registered
        registry.deregister(version)


@task(name="unpack", cache_policy=NO_CACHE)
def _unpack(site: Site, version: Version) -> Path:
    return site.unpack(version.name, version.commit)


@task(name="package", cache_policy=NO_CACHE)
def _package(site: Site, version: Version) -> None:
    """Build the bento from the version's own code and its sealed bundle, the lineage in its labels."""
    if not site.settings.package:
        get_run_logger().info("no bento is built: serving.package is empty")
        return
    discard(site, version.name)  # what a killed promotion built: no bento takes the place of another
    folder = site.folder / "versions" / version.name
    (folder / PACKAGED).touch()
    try:
        with worktree(site.project, version.commit) as tree:
            shutil.rmtree(tree.folder / BUNDLE)
            shutil.copytree(folder / "bundle", tree.folder / BUNDLE)
            _fill_and_run(site.settings.package, site, version.name, tree.folder)
    except BaseException as error:
        if isinstance(error, commands.CommandError) and "already exists" in error.output:
            (folder / PACKAGED).unlink()  # somebody else's
        discard(site, version.name)
        raise
    _remember("packaged", (site, version))


@_package.on_rollback
def _unpackage(steps: Transaction) -> None:
    if packaged := steps.get("packaged", None):
        site, version = packaged
        discard(site, version.name)


def discard(site: Site, version: str) -> None:
    """Take the bento of ``version`` back, if this project began to build one; one that is not there is as good as gone.

    Another project's bento may have the same name, so that only what was built here may be taken.
    """
    mark = site.folder / "versions" / version / PACKAGED
    if site.settings.discard and mark.exists():
        try:
            _fill_and_run(site.settings.discard, site, version, site.project)
        except (commands.CommandError, DamagedError) as error:
            get_logger("flows").warning("the bento of %s is not removed: %s", version, error)
        mark.unlink()


def _fill_and_run(command: Sequence[str], site: Site, version: str, folder: Path) -> None:
    filled = [part.format_map({**site.lineage(version), "version": version}) for part in command]
    commands.run(filled, folder, get_logger("flows").info, environment=commands.python_environment(folder))


def _deploy(site: Site, version: Version, *, watch: bool = True) -> None:
    """Serve, test, switch, watch."""
    before = site.target()
    _start(site, version, before)
    _smoke(site, version)
    _switch(site, version, before)
    if watch:
        _watch(site, version)


@task(name="start", cache_policy=NO_CACHE)
def _start(site: Site, version: Version, before: str | None) -> None:
    """Serve the version on a spare port."""
    _remember("started", None if version.name == before else (site, version.name))
    server = site.start(version.name)
    get_run_logger().info("%s answers at %s", version.name, server.url)


@_start.on_rollback
def _stop(steps: Transaction) -> None:
    if started := steps.get("started", None):
        site, name = started
        if site.target() != name:
            _drain(site, name)
        site.stop(name)


@task(name="smoke test", cache_policy=NO_CACHE)
def _smoke(site: Site, version: Version) -> None:
    """Real records, before anybody else's request."""
    asked = smoke.test(site.servers()[version.name].url, site.folder / "versions" / version.name, site.settings)
    get_run_logger().info("%d records are answered as evaluated", asked)


@task(name="switch", cache_policy=NO_CACHE)
def _switch(site: Site, version: Version, before: str | None) -> None:
    """The next request goes to the version."""
    _remember("switched", (site, before))
    site.switch(version.name)


@_switch.on_rollback
def _switch_back(steps: Transaction) -> None:
    if switched := steps.get("switched", None):
        site, before = switched
        if before is not None:
            try:
                site.start(before)  # it may have died beside the other
            except processes.StartError as error:
                get_logger("flows").error("%s cannot be served any more: %s", before, error)
                before = None
        site.switch(before)


@task(name="watch", cache_policy=NO_CACHE)
def _watch(site: Site, version: Version) -> None:
    """Look on while it serves: it must run, be ready, and fail no more than is borne.

    Raises:
        WatchError: it does not.
    """
    server, front = site.servers()[version.name], site.front()
    answered, failed, _ = site.counts(version.name)
    deadline = time.monotonic() + site.settings.watch_s
    while True:
        if not server.alive() or not processes.answers(server.url + "/readyz"):
            raise WatchError(f"{version.name} stopped answering")
        smoke.test(front.url, site.folder / "versions" / version.name, site.settings)
        now, now_failed, _ = site.counts(version.name)
        if now_failed - failed > site.settings.max_error_share * (now - answered):
            raise WatchError(f"{version.name} failed {now_failed - failed} of {now - answered} requests")
        if time.monotonic() > deadline:
            get_run_logger().info(
                "%s answered %d requests, %d failed", version.name, now - answered, now_failed - failed
            )
            return
        time.sleep(WATCH_EVERY_S)


@task(name="assign", cache_policy=NO_CACHE)
def _assign(registry: Registry, version: Version, instead_of: Version | None) -> None:
    """Say so in the registry: last, so that ``prod`` never names what was not seen to work.

    Raises:
        LateError: meanwhile somebody assigned another version by hand, which is not for a flow to undo.
    """
    champion = registry.champion()
    if champion == version:
        return
    still(instead_of.name if instead_of else None)(champion)
    _remember("assigned", (registry, registry.assign(version)))


@_assign.on_rollback
def _unassign(steps: Transaction) -> None:
    if assigned := steps.get("assigned", None):
        registry, tag = assigned
        registry.unassign(tag)


def _remember(name: str, value: Any) -> None:
    """For the step's hook; within a task, the transaction is the task's own."""
    found = Transaction.get_active()
    assert found is not None
    found.set(name, value)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m flows.promotion", description=promotion.__doc__)
    parser.add_argument("commit", nargs="?", default="HEAD")
    arguments = parser.parse_args()
    try:
        with standing.server(Path.cwd()):
            promotion(commit=arguments.commit)
    except (RuntimeError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
