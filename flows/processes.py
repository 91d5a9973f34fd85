"""Processes that outlive the flow that started them: the servers and the proxy in front of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil

from flows import guard, secrets
from vlp import births
from vlp.files import atomic

DETACH = Path(__file__).with_name("detach.py")
POLL_S = 0.1
LOG_TAIL = 1500
"""Characters of a log that an error quotes."""


class StartError(RuntimeError):
    """A process ended, or did not answer in time."""


@dataclass(frozen=True, slots=True)
class Process:
    """A running process: its id, its birth (ids are used again), its address and its log."""

    pid: int
    began: str | float
    """A number, psutil's time of birth, is what records had that an earlier version wrote."""
    url: str
    log: str

    def alive(self) -> bool:
        """Whether it, and no other process with its id, runs."""
        try:
            found = psutil.Process(self.pid)
            born = found.create_time() if isinstance(self.began, float) else births.of(self.pid)
            return born == self.began and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def stop(self, grace_s: float = 10.0) -> None:
        """End it and all that it started, in whatever process group."""
        if not self.alive():
            return
        try:
            family = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:  # it ended by itself meanwhile
            family = []
        guard.end(self.pid, grace_s)
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(family, timeout=grace_s)  # a killed one, too, is there for a moment

    def write(self, path: Path) -> None:
        """Remember it in ``path``."""
        write_json(path, asdict(self))


def read(path: Path) -> Process | None:
    """The process that ``path`` remembers, if it still runs."""
    try:
        found = Process(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    return found if found.alive() else None


def start(command: Sequence[str], folder: Path, log: Path, url: str, environment: Mapping[str, str]) -> Process:
    """Start ``command`` in ``folder``, writing to ``log``; it will answer at ``url``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    detach = [sys.executable, "-I", "-S", str(DETACH), str(log), *command]
    done = subprocess.run(
        detach, cwd=folder, env=dict(environment), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise StartError(f"{command[0]}: {done.stderr.strip().splitlines()[-1]}")
    pid = int(done.stdout)
    try:
        return Process(pid, births.of(pid), url, str(log))
    except psutil.NoSuchProcess:
        raise StartError(f"{' '.join(command)}: ended at once: {_tail(log)}") from None


def wait_until_ready(process: Process, path: str, seconds: float) -> None:
    """Wait until a GET of ``path`` is answered with 200.

    Raises:
        StartError: the process ended, or did not answer in time; with the end of its log.
    """
    deadline = time.monotonic() + seconds
    while True:
        # Asked first, so that nobody who answers in the place of a dead process is taken for it.
        if not process.alive():
            raise StartError(f"the server ended before it was ready: {_tail(Path(process.log))}")
        if answers(process.url + path):
            return
        if time.monotonic() > deadline:
            raise StartError(f"the server was not ready after {seconds:g} s: {_tail(Path(process.log))}")
        time.sleep(POLL_S)


def answers(url: str) -> bool:
    """Whether a GET of ``url`` is answered with 200."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def refuse_taken(url: str, setting: str) -> None:
    """A server whose port is somebody else's would end, and the other answer in its place.

    Raises:
        StartError: somebody listens at ``url`` already; the message names the ``setting`` to change.
    """
    address = httpx.URL(url)
    with suppress(OSError), socket.create_connection((address.host, address.port or 80), timeout=5):
        raise StartError(f"{address.host}:{address.port}: somebody else listens there already; change {setting}")


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def server_environment() -> dict[str, str]:
    """What a server sees: no secret but its own settings, which begin with VLP_."""
    own = {name: value for name, value in os.environ.items() if name.startswith("VLP_")}
    return secrets.without(os.environ) | own


def write_json(path: Path, value: object) -> None:
    """Write ``value`` in one step: who reads sees the old file or the new one."""
    with atomic(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _tail(log: Path) -> str:
    return secrets.hide(log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:].strip()) or "it said nothing"
