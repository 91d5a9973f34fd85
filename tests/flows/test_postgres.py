"""Prefect's history in PostgreSQL, where that is installed: the same flows, and no password shown anywhere."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows import processes

pytestmark = pytest.mark.soak
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
OWNER = "postgres"


@dataclass(frozen=True)
class Database:
    """A running server of PostgreSQL."""

    port: int
    password: str

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://prefect:{self.password}@127.0.0.1:{self.port}/prefect"

    def say(self, query: str) -> str:
        command = [
            program("psql"),
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "prefect",
            "-d",
            "prefect",
            "-Atc",
            query,
        ]
        own = os.environ | {"PGPASSWORD": self.password}
        return subprocess.run(command, env=own, capture_output=True, text=True, check=True).stdout.strip()


def program(name: str) -> str:
    found = PROGRAMS[-1] / name if PROGRAMS else None
    return str(found) if found and found.exists() else shutil.which(name) or ""


@pytest.fixture
def database() -> Iterator[Database]:
    """A server on loopback with a database for Prefect; it refuses to run as root, so that root needs its user."""
    if not program("initdb"):
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    prefix = []
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(OWNER)
        except KeyError:
            pytest.skip(f"PostgreSQL does not run as root, and there is no user {OWNER!r}")
        prefix = ["runuser", "-u", OWNER, "--"]
    folder = Path(tempfile.mkdtemp(prefix="vlp-postgres-"))
    found = Database(processes.free_port(), "planted-" + secrets.token_hex(8))
    try:
        (folder / "password").write_text(found.password)
        if prefix:
            for path in (folder, folder / "password"):
                shutil.chown(path, OWNER)
        data, log = str(folder / "data"), str(folder / "log")
        initial = ["-U", "prefect", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}"]
        options = f"-p {found.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        for command in (
            [program("initdb"), "-D", data, *initial],
            [program("pg_ctl"), "-D", data, "-l", log, "-w", "-o", options, "start"],
        ):
            subprocess.run([*prefix, *command], cwd=folder, stdout=subprocess.DEVNULL, check=True)
        try:
            create = [program("psql"), "-h", "127.0.0.1", "-p", str(found.port), "-U", "prefect", "-d", "postgres"]
            own = os.environ | {"PGPASSWORD": found.password}
            make = [*create, "-c", "CREATE DATABASE prefect"]
            subprocess.run(make, env=own, stdout=subprocess.DEVNULL, check=True)
            found.say("CREATE EXTENSION pg_trgm")
            yield found
        finally:
            stop = [program("pg_ctl"), "-D", data, "-m", "immediate", "stop"]
            subprocess.run([*prefix, *stop], cwd=folder, stdout=subprocess.DEVNULL, check=True)
    finally:
        shutil.rmtree(folder)


def test_the_flows_work_with_postgresql_and_its_password_is_nowhere(database, standalone, monkeypatch):
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", database.url)

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=standalone, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    try:
        said = run("flows.local", "up")
        said += run("flows.pipeline", "--set", "train.skill=0.8", "train")
    finally:
        run("flows.local", "down")
    assert database.say(
        "SELECT state_name FROM flow_run JOIN flow ON flow.id = flow_id WHERE flow.name = 'pipeline'"
    ) == ("Completed")
    assert int(database.say("SELECT count(*) FROM log")) > 10
    assert not list(Path(os.environ["PREFECT_HOME"]).glob("*.db")), "nothing went to SQLite"
    kept = [path.read_bytes().decode("latin-1") for path in standalone.rglob("*") if path.is_file()]
    assert database.password not in "".join([said, *kept])
