"""One Prefect server for all tests of the flows, on loopback, and one small pipeline that has run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

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
