"""Everything on this machine: a Prefect server, a worker, the deployments of prefect.yaml, and what is in production.

    python -m flows.local up | down

``up`` also starts the keeper, which starts again what has died. A server that PREFECT_API_URL names is used instead of
a server of its own. All of it listens on loopback.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows import commands, lost, processes, promotion, schedules, settings, standing
from flows.registry import Registry
from flows.serving import BusyError, Site
from flows.settings import Settings
from flows.standing import FOLDER

POOL = "vlp"
DEPLOYED = FOLDER / "deployed"
"""Is there while the server has the deployments of prefect.yaml."""
READY_S = 300.0
KEEP_EVERY_S = 5.0
MUTE_S = 60.0
"""A server that runs and has not answered for so long is started again."""

QUIET_S = 180.0
"""For a promotion to come to its end: its server's start, the smoke test and the watch."""

logger = logging.getLogger(__name__)


@contextmanager
def _alone(project: Path) -> Iterator[None]:
    """One at a time starts and ends things: `up`, `down` or the keeper."""
    (project / FOLDER).mkdir(parents=True, exist_ok=True)
    with (project / FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _apart(failures: list[Exception]) -> Iterator[None]:
    """Note what the block fails for, so that the next part has its turn; ``_tell`` raises it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever stops this part must not stop the others
        failures.append(error)


def _tell(failures: list[Exception]) -> None:
    """Raise what was noted: one as it is, several together."""
    if len(failures) > 1:
        raise ExceptionGroup("not everything runs", failures)
    for failure in failures:
        raise failure


def up(project: Path) -> str:
    """Start what does not run yet; the address of the server.

    Raises:
        ExceptionGroup: neither Prefect's part nor what is in production could be started; one of them alone fails by
            its own error, and the other runs.
    """
    with _alone(project):
        return _up(project, settings.load(project))


def _up(project: Path, chosen: Settings) -> str:
    failures: list[Exception] = []
    api = ""
    _keeper(project)  # before all else: what cannot start now, it tries again
    with _apart(failures):
        api = _orchestrate(project, chosen)
    site = Site(project, chosen.serving)
    with _apart(failures), site.locked():
        promotion.recover(site, Registry(project, chosen.artifact))
    _tell(failures)
    return api


def _orchestrate(project: Path, chosen: Settings) -> str:
    """Server, deployments and worker; the address of the server."""
    api = os.environ.get("PREFECT_API_URL") or _server(project, chosen)
    _deploy(project, api)
    _worker(project, api)
    return api


def _deploy(project: Path, api: str) -> None:
    (project / DEPLOYED).unlink(missing_ok=True)
    standing.check_login(api)
    environment = commands.python_environment(project) | _client(api)
    pool = ["work-pool", "create", POOL, "--type", "process", "--overwrite"]
    commands.run(["prefect", *pool], project, environment=environment)
    with schedules.kept(project, api):
        commands.run(["prefect", "--no-prompt", "deploy", "--all"], project, environment=environment)
    lost.watch(api)
    (project / DEPLOYED).touch()


def _keeper(project: Path) -> None:
    # Anew each time: logins and addresses are in its environment, and one that `up` was given wrongly must not stay.
    if (running := processes.read(project / FOLDER / "keeper.json")) is not None:
        running.stop()
    environment = dict(os.environ) | {"PYTHONPATH": commands.python_environment(project)["PYTHONPATH"]}
    _start(project, "keeper", [sys.executable, "-m", "flows.local", "keep"], "", environment)


def down(project: Path) -> list[str]:
    """End all of it; the names of what ran.

    Raises:
        BusyError: a promotion or rollback goes on all the same: what serves is left to it.
    """
    with _alone(project):
        return _down(project)


def _down(project: Path) -> list[str]:
    site = Site(project, settings.load(project).serving)
    # First who starts others. Then what a promotion has started by its end: somebody may promote by hand, too.
    ended = _ended({name: processes.read(project / FOLDER / f"{name}.json") for name in ("keeper", "worker")})
    try:
        with site.locked(QUIET_S):
            server = processes.read(project / FOLDER / "server.json")
            ended += _ended({"server": server, "front": processes.read(site.folder / "front.json"), **site.servers()})
    except BusyError as error:
        so_far = ", ".join(ended) or "nothing"
        raise BusyError(
            f"{error}, when it is over: Prefect's server and what serves still run; ended: {so_far}"
        ) from None
    for record in (*(project / FOLDER).glob("*.json"), project / DEPLOYED):
        record.unlink(missing_ok=True)
    return ended


def _ended(found: dict[str, processes.Process | None]) -> list[str]:
    running = {name: process for name, process in found.items() if process is not None}
    for process in running.values():
        process.stop()
    return list(running)


def keep(project: Path) -> None:
    """Start again what dies, until this process is ended."""
    mute_since: float | None = None
    while True:
        try:
            mute_since = _mute_since(project, mute_since)
            with _alone(project):
                for name in revive(project, mute_since):
                    logger.warning("%s was not running and is started again", name)
        except Exception:  # whatever stands in the way now may be gone the next time
            logger.exception("not everything runs")
        time.sleep(KEEP_EVERY_S)


def _mute_since(project: Path, before: float | None) -> float | None:
    """When the server, which runs, was first found not to answer; None if it does or is no server of ours."""
    server = processes.read(project / FOLDER / "server.json")
    if server is None or processes.answers(server.url + "/health"):
        return None
    return before or time.monotonic()


def revive(project: Path, mute_since: float | None = None) -> Iterator[str]:
    """Start what `up` started and what no longer runs; their names.

    What is in production comes first and by itself: a server of Prefect that cannot start takes minutes to say so.

    Raises:
        ExceptionGroup: neither of the two parts could be started; one of them alone fails by its own error.
    """
    chosen = settings.load(project)
    failures: list[Exception] = []
    with _apart(failures):
        yield from _revive_site(project, chosen)
    with _apart(failures):
        yield from _revive_prefect(project, chosen, mute_since)
    _tell(failures)


def _revive_site(project: Path, chosen: Settings) -> Iterator[str]:
    site, registry = Site(project, chosen.serving), Registry(project, chosen.artifact)
    if (missing := promotion.missing(site, registry)) is not None:
        try:
            with site.locked():
                yield missing
                promotion.recover(site, registry)
        except BusyError:
            return  # whoever changes what is served also starts it


def _revive_prefect(project: Path, chosen: Settings, mute_since: float | None) -> Iterator[str]:
    api = os.environ.get("PREFECT_API_URL")
    if api is None:
        server = processes.read(project / FOLDER / "server.json")
        if server is not None and mute_since is not None and time.monotonic() - mute_since > MUTE_S:
            server.stop()
            server = None
        if server is None:
            yield "the server"
        api = _server(project, chosen)
    if not (project / DEPLOYED).exists():  # `up` could not
        yield "the schedule"
        _deploy(project, api)
    if processes.read(project / FOLDER / "worker.json") is None:
        yield "the worker"
        _worker(project, api)


def _client(api: str) -> dict[str, str]:
    return standing.login() | {
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(lost.HEARTBEAT_S),
    }


def _worker(project: Path, api: str) -> None:
    # The worker's flows need the secrets that notifications and remotes use; stages do not get them.
    own = commands.python_environment(project)
    environment = dict(os.environ) | {name: own[name] for name in ("PATH", "PYTHONPATH")} | _client(api)
    _prefect(project, "worker", ["worker", "start", "--pool", POOL, "--type", "process"], api, environment)


def _server(project: Path, chosen: Settings) -> str:
    port = os.environ.get("PREFECT_SERVER_API_PORT", "4200")
    api = f"http://127.0.0.1:{port}/api"
    history = {
        # A slot of a deployment's limit is a lease: kept on disk, it outlives a server that is killed, and its run.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(86400 * chosen.cleanup.history_days),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    # Where its database is, password included, is the server's own affair.
    own = {name: value for name, value in os.environ.items() if name.startswith("PREFECT_")}
    arguments = ["server", "start", "--host", "127.0.0.1", "--port", port]
    environment = commands.python_environment(project) | history | own
    if processes.read(project / FOLDER / "server.json") is None:
        processes.refuse_taken(api, "PREFECT_SERVER_API_PORT, or name that server in PREFECT_API_URL")
    server = _prefect(project, "server", arguments, api, environment)
    processes.wait_until_ready(server, "/health", READY_S)
    return server.url  # of the one that ran already, whatever port is asked for now


def _prefect(
    project: Path, name: str, arguments: list[str], url: str, environment: dict[str, str]
) -> processes.Process:
    return _start(project, name, [str(Path(sys.executable).with_name("prefect")), *arguments], url, environment)


def _start(project: Path, name: str, command: list[str], url: str, environment: dict[str, str]) -> processes.Process:
    record = project / FOLDER / f"{name}.json"
    if running := processes.read(record):
        return running
    started = processes.start(command, project, project / FOLDER / f"{name}.log", url, environment)
    started.write(record)
    return started


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.local", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("what", choices=["up", "down", "keep"])
    project, what = Path.cwd(), parser.parse_args().what
    if what == "down":
        try:
            sys.stdout.write(f"ended: {', '.join(down(project)) or 'nothing ran'}\n")
        except (RuntimeError, ValueError) as error:
            raise SystemExit(f"error: {error}") from None
        return
    if what == "keep":
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        keep(project)
    try:
        api = up(project)
    except (RuntimeError, ValueError, ExceptionGroup) as error:
        each = error.exceptions if isinstance(error, ExceptionGroup) else [error]
        raise SystemExit("\n".join(f"error: {one}" for one in each)) from None
    front = Site(project, settings.load(project).serving).front()
    sys.stdout.write(f"prefect: {api.removesuffix('/api')}\nmodel:   {front.url}\n")


if __name__ == "__main__":
    main()
