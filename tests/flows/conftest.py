"""One Prefect server for all tests of the flows, on loopback, and one small pipeline that has run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import processes, settings
from flows.serving import Site
from support import pipelines


@pytest.fixture(scope="session")
def server() -> Iterator[None]:
    """Flows of this process report to a temporary server."""
    # Here, for every worker reads this file and one of them needs a server.
    from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 300}),
        prefect_test_harness(server_startup_timeout=300),
    ):
        yield


@pytest.fixture(scope="session")
def _finished(tmp_path_factory) -> Path:
    """The small pipeline, run once by DVC alone, its results committed."""
    folder = pipelines.make(tmp_path_factory.mktemp("pipeline") / "project")
    subprocess.run(["dvc", "repro", "--quiet"], cwd=folder, check=True)
    pipelines.commit(folder, "results")
    return folder


@pytest.fixture
def project(_finished, tmp_path) -> Path:
    """A copy of it, to change."""
    return shutil.copytree(_finished, tmp_path / "project", symlinks=True)


@pytest.fixture
def site(project) -> Iterator[Site]:
    """What is served from the project; nothing of it afterwards."""
    found = Site(project, settings.load(project).serving)
    yield found
    for process in [*found.servers().values(), found.front()]:
        process.stop()


@pytest.fixture
def standalone(project, monkeypatch) -> Path:
    """The project with flows and deployments of its own, for `make up`; it sees nothing of the tests' server."""
    shutil.copy(pipelines.PROJECT / "prefect.yaml", project)
    ignored = shutil.ignore_patterns("__pycache__", "config.yaml")
    shutil.copytree(pipelines.PROJECT / "flows", project / "flows", dirs_exist_ok=True, ignore=ignored)
    pipelines.commit(project, "flows")
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(project.parent / "prefect"))
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", str(processes.free_port()))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("PREFECT_CLI_COLORS", "false")
    return project
