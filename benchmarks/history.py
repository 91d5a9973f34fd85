"""A long history in Prefect's SQLite: how quickly its pages and a new run come, with ten runs and with a thousand.

One run is made by Prefect itself, as long as a run of the pipeline: a task a stage, its log, its artifacts. The others
are copies of its rows, with identities and times of their own.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from flows import processes

ROOT = Path(__file__).resolve().parent.parent
STAGES, LINES, FIGURES, ROUNDS, FEW = 21, 60, 200, 15, 10
COLUMN_TYPES = {"flow_run": "flow_run_id", "task_run": "task_run_id"}
TABLES = ("flow_run", "flow_run_state", "task_run", "task_run_state", "log", "artifact")


@task(cache_policy=NO_CACHE)
def stage(number: int) -> None:
    """As many lines as a stage says."""
    for line in range(LINES):
        get_run_logger().info("stage %d: %d/%d, 450.0/s, loss 0.6931", number, line, LINES)


@flow(name="pipeline")
def run() -> None:
    """As much as a run of the pipeline leaves."""
    for number in range(STAGES):
        stage(number)
    create_table_artifact([{"metric": f"m{n}", "this run": str(n / 7)} for n in range(FIGURES)], key="metrics")
    create_table_artifact([{"stage": str(n), "status": "Ran"} for n in range(STAGES)], key="stages")
    for key in ("parameters", "validation", "gate"):
        create_markdown_artifact("line of text\n" * 120, key=key)


@flow(name="short")
def short() -> int:
    """What a new run costs."""
    return 1


def measure(home: Path, runs: int) -> dict[str, Any]:
    """Seconds of each page with ``FEW`` runs and with ``runs``, in turn on two servers; and the database's size."""
    homes = {}
    for count in (FEW, runs):
        homes[count] = home / str(count)
        shutil.rmtree(homes[count], ignore_errors=True)
        with server(homes[count]) as url:
            _elsewhere("run", url)
            _settled(url)
        multiply(homes[count] / "prefect.db", count)
    samples: dict[str, dict[int, list[float]]] = {}
    new: dict[int, list[float]] = {}
    with server(homes[FEW]) as few, server(homes[runs]) as many:
        for _ in range(ROUNDS):
            for count, url in ((FEW, few), (runs, many)):
                for name, seconds in _pages(url):
                    samples.setdefault(name, {}).setdefault(count, []).append(seconds)
        for _ in range(3):
            for count, url in ((FEW, few), (runs, many)):
                new.setdefault(count, []).append(_elsewhere("short", url))
        total = httpx.post(f"{many}/flow_runs/count", json={}, trust_env=False).json()
    pages = {
        name: {f"{count}_runs_ms": round(1000 * median(times), 1) for count, times in found.items()}
        for name, found in samples.items()
    }
    return {
        "runs": total,
        "database_mb": round((homes[runs] / "prefect.db").stat().st_size / 1e6, 1),
        "slowest_page_ms": max(found[f"{runs}_runs_ms"] for found in pages.values()),
        "pages": pages,
        "new_run_s": {f"{count}_runs": round(median(times), 2) for count, times in new.items()},
    }


def timed(one: Callable[[], object]) -> None:
    """Run it and say how many seconds it took, on the last line."""
    began = time.perf_counter()
    one()
    sys.stdout.write(f"{time.perf_counter() - began}\n")


def _elsewhere(name: str, url: str) -> float:
    """Seconds of a flow of this file, run by a process of its own.

    What Prefect still has to say when a flow is over goes on in the background. Said to a server that was stopped in
    the meantime, it takes minutes an item.
    """
    command = [sys.executable, "-c", f"from benchmarks import history; history.timed(history.{name})"]
    found = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PREFECT_API_URL": url}, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(found.stdout.splitlines()[-1])


@contextmanager
def server(home: Path) -> Iterator[str]:
    """A server with its database in ``home``; the address of its API."""
    home.mkdir(parents=True, exist_ok=True)
    port = processes.free_port()
    environment = os.environ | {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    environment.pop("PREFECT_API_URL", None)
    command = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--port", str(port)]
    started = processes.start(command, home, home / "server.log", f"http://127.0.0.1:{port}/api", environment)
    try:
        processes.wait_until_ready(started, "/health", 300)
        yield started.url
    finally:
        started.stop()


def _settled(url: str) -> None:
    """Wait until logs and task runs, which Prefect writes in the background, are all there."""
    deadline = time.monotonic() + 120
    with httpx.Client(trust_env=False) as client:
        while True:
            tasks = client.post(f"{url}/task_runs/count", json={}).json()
            lines = len(client.post(f"{url}/logs/filter", json={"limit": 200, "offset": STAGES * LINES - 1}).json())
            if tasks == STAGES and lines:
                return
            assert time.monotonic() < deadline, f"{tasks} tasks"
            time.sleep(0.5)


def multiply(database: Path, count: int) -> None:
    """Copy the one run of the database until there are ``count``, each an hour older than the next."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.row_factory = sqlite3.Row
        rows = {table: [dict(row) for row in connection.execute(f"SELECT * FROM {table}")] for table in TABLES}
        for number in range(1, count):
            names = {row["id"]: str(uuid.uuid4()) for found in rows.values() for row in found}
            for table, found in rows.items():
                for row in found:
                    _insert(connection, table, {name: _moved(value, names, number) for name, value in row.items()})
        # A table of its own names the newest artifact of each key; that of the one run stays it.
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("ANALYZE")


def _insert(connection: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    if table in ("flow_run", "task_run"):
        row = row | {"idempotency_key": None} if "idempotency_key" in row else row
    if table == "task_run":
        row["dynamic_key"] = f"{row['dynamic_key']}-{row['id'][:8]}"
    names = ", ".join(f'"{name}"' for name in row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))


def _moved(value: Any, names: dict[str, str], hours: int) -> Any:
    if not isinstance(value, str):
        return value
    if value in names:
        return names[value]
    try:
        at = datetime.fromisoformat(value) if len(value) >= 19 and value[4] == "-" and value[10] in " T" else None
    except ValueError:
        return value
    return value if at is None else (at - timedelta(hours=hours)).isoformat(sep=value[10])


def _pages(url: str) -> Iterator[tuple[str, float]]:
    """What Prefect's pages ask for, and how long each answer takes."""
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:

        def asked(path: str, body: dict[str, Any]) -> tuple[float, Any]:
            began = time.perf_counter()
            answer = client.post(path, json=body)
            answer.raise_for_status()
            return time.perf_counter() - began, answer.json()

        seconds, found = asked("/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 50})
        yield "the newest runs", seconds
        yield "runs in all", asked("/flow_runs/count", {})[0]
        since = (datetime.now(UTC) - timedelta(days=60)).isoformat()
        window = {"flow_runs": {"expected_start_time": {"after_": since}}, "limit": 200}
        yield "runs of the last weeks", asked("/flow_runs/filter", window)[0]
        one = {"flow_run_id": {"any_": [found[0]["id"]]}}
        yield "a run's log", asked("/logs/filter", {"logs": one, "limit": 200, "sort": "TIMESTAMP_ASC"})[0]
        yield "a run's tasks", asked("/task_runs/filter", {"flow_runs": {"id": {"any_": [found[0]["id"]]}}})[0]
        yield "a run's artifacts", asked("/artifacts/filter", {"artifacts": one})[0]
