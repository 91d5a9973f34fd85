"""The pinned FastAPI carries the pinned Prefect server: it starts, and it answers what a plain start never asks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.slow
SECONDS_TO_START = 90


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def healthy(api: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api}/health", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError):
        return False


@pytest.fixture
def server(tmp_path) -> Iterator[dict[str, str]]:
    """The environment of a client of a real server on loopback, with a home of its own."""
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_CLI_COLORS": "false",
    }
    log = tmp_path / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["prefect", "server", "start", "--no-ui"], env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not healthy(api):
            said = log.read_text(encoding="utf-8", errors="replace")[-3000:]
            assert process.poll() is None, f"the server ended with status {process.returncode}:\n{said}"
            assert time.monotonic() < deadline, f"the server is not up after {SECONDS_TO_START} s:\n{said}"
            time.sleep(0.2)
        yield environment
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_the_server_starts_and_lists_flows_and_deployments(server):
    for noun in ("deployment", "flow"):
        listed = subprocess.run(["prefect", noun, "ls"], env=server, capture_output=True, text=True, check=False)
        assert listed.returncode == 0, listed.stdout + listed.stderr
        assert f"{noun}s" in listed.stdout.lower()
