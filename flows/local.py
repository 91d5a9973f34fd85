"""Everything on this machine: a Prefect server, a worker, the deployments of prefect.yaml, and what is in production.

    python -m flows.local up | down

A server that PREFECT_API_URL names is used instead of a server of its own. All of it listens on loopback.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from flows import commands, processes, promotion, settings
from flows.registry import Registry
from flows.serving import Site
from flows.standing import FOLDER

POOL = "vlp"
READY_S = 120.0


def up(project: Path) -> str:
    """Start what does not run yet; the address of the server."""
    chosen = settings.load(project)
    site = Site(project, chosen.serving)
    api = os.environ.get("PREFECT_API_URL") or _server(project)
    environment = commands.python_environment(project) | {
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    for step in (
        ["work-pool", "create", POOL, "--type", "process", "--overwrite"],
        ["--no-prompt", "deploy", "--all"],
    ):
        commands.run(["prefect", *step], project, environment=environment)
    # The worker's flows need the secrets that notifications and remotes use; stages do not get them.
    worker = dict(os.environ) | {name: environment[name] for name in ("PATH", "PYTHONPATH", "PREFECT_API_URL")}
    _start(project, "worker", ["worker", "start", "--pool", POOL, "--type", "process"], api, worker)
    with site.locked():
        promotion.recover(site, Registry(project, chosen.artifact))
    return api


def down(project: Path) -> list[str]:
    """End all of it; the names of what ran."""
    site = Site(project, settings.load(project).serving)
    # First who starts others.
    found = {name: processes.read(project / FOLDER / f"{name}.json") for name in ("worker", "server")}
    found |= {"front": processes.read(site.folder / "front.json"), **site.servers()}
    running = {name: process for name, process in found.items() if process is not None}
    for process in running.values():
        process.stop()
    for record in (project / FOLDER).glob("*.json"):
        record.unlink()
    return list(running)


def _server(project: Path) -> str:
    port = os.environ.get("PREFECT_SERVER_API_PORT", "4200")
    api = f"http://127.0.0.1:{port}/api"
    environment = commands.python_environment(project) | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    # Where its database is, password included, is the server's own affair.
    own = {name: value for name, value in os.environ.items() if name.startswith("PREFECT_")}
    arguments = ["server", "start", "--host", "127.0.0.1", "--port", port]
    server = _start(project, "server", arguments, api, environment | own)
    processes.wait_until_ready(server, "/health", READY_S)
    return api


def _start(project: Path, name: str, arguments: list[str], url: str, environment: dict[str, str]) -> processes.Process:
    record = project / FOLDER / f"{name}.json"
    if running := processes.read(record):
        return running
    command = [str(Path(sys.executable).with_name("prefect")), *arguments]
    started = processes.start(command, project, project / FOLDER / f"{name}.log", url, environment)
    started.write(record)
    return started


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.local", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("what", choices=["up", "down"])
    project = Path.cwd()
    if parser.parse_args().what == "down":
        sys.stdout.write(f"ended: {', '.join(down(project)) or 'nothing ran'}\n")
        return
    api = up(project)
    front = Site(project, settings.load(project).serving).front()
    sys.stdout.write(f"prefect: {api.removesuffix('/api')}\nmodel:   {front.url}\n")


if __name__ == "__main__":
    main()
