"""The Prefect server that `make up` started, for whoever runs a flow by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import processes

FOLDER = Path("runs") / "local"
SERVER = FOLDER / "server.json"


@contextmanager
def server(project: Path) -> Iterator[None]:
    """Flows in the block report to the project's standing server, if it runs and PREFECT_API_URL names no other."""
    found = None if os.environ.get("PREFECT_API_URL") else processes.read(project / SERVER)
    if found is None:
        yield
        return
    with temporary_settings({PREFECT_API_URL: found.url}):
        yield
