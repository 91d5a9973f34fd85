"""The real service, as a process on a free loopback port."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Server:
    """A served bundle and where it writes."""

    url: str
    bundle: Path
    folder: Path

    def lines(self) -> list[dict[str, Any]]:
        """The log so far, one object a line; BentoML's own first words are none."""
        text = (self.folder / "log").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(bundle: Path, folder: Path, **settings: object) -> Iterator[Server]:
    """Serve ``bundle`` until the block ends.

    Args:
        bundle: exported.
        folder: a new folder for the log, the records and BentoML's own files.
        settings: by their names in ``service.settings``.
    """
    folder.mkdir(parents=True)
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VLP_")}
    environment |= {f"VLP_{name.upper()}": str(value) for name, value in settings.items()}
    environment["BENTOML_HOME"] = str(folder / "bentoml")
    command = [sys.executable, "-m", "service", "--bundle", str(bundle), "--port", str(port)]
    with running(command, folder, environment, port, ROOT) as url:
        yield Server(url, bundle, folder)


@contextmanager
def running(
    command: list[str], folder: Path, environment: dict[str, str], port: int, root: Path | None = None
) -> Iterator[str]:
    """Run ``command``, which serves on ``port`` and logs into ``folder``, until the block ends."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=root or folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, process, folder / "log")
            yield url
        finally:
            _stop(process)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the service is not ready:\n{log.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
