"""One served toy bundle for nearly all tests of the service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.bundles import write_toy_bundle
from support.served import Server, served


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("service")
    write_toy_bundle(work / "bundle", work / "parts")
    return work / "bundle"


@pytest.fixture(scope="session")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with served(bundle, folder / "run", records=folder / "records", max_texts=8, max_bytes=200_000) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def locked(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """Two workers behind an API key, and the key."""
    key = "a-key-of-good-length"
    with served(bundle, tmp_path_factory.mktemp("locked") / "run", api_key=key, workers=2) as running:
        yield running, key


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of all seven tasks; SERVED_BUNDLE names one that is trained."""
    if (given := os.environ.get("SERVED_BUNDLE")) is not None:
        return Path(given).resolve()
    from support.whole import write_whole_bundle  # here: it takes torch, which the other tests do without

    work = tmp_path_factory.mktemp("whole")
    write_whole_bundle(work / "bundle", work / "parts")
    return work / "bundle"


@pytest.fixture(scope="session")
def whole_server(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(whole, tmp_path_factory.mktemp("whole-server") / "run") as running:
        yield running


@pytest.fixture(scope="session")
def whole_client(whole_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=whole_server.url, timeout=60) as client:
        yield client
