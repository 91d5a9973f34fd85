"""What every test stands on: no network, no telemetry, one thread a process, a fresh seed for each test."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# Before anything is imported, and for every process that a test starts.
os.environ.update(
    DVC_NO_ANALYTICS="1",
    ITERATIVE_DO_NOT_TRACK="1",
    DO_NOT_TRACK="1",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    BENTOML_DO_NOT_TRACK="True",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",  # several workers share the cores
)
# tests/offline/sitecustomize.py closes the network in child processes too, as pytest-socket does in this one;
# src stands first, so that a clone is tested with its own code whatever else is installed.
_path = [str(ROOT / "tests" / "offline"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(part for part in _path if part)
# uv installs sources only: unless Python may keep what it compiles, every process that a test starts compiles torch.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# `python`, `dvc`, … in a child are this environment's.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

# A flow that ran in this process has threads to end when the process does. A DataLoader's worker, forked from it, has
# none of them: Prefect's hook fails there, and the worker that did its work ends with status 1.
os.register_at_fork(after_in_child=lambda: threading._threading_atexits.clear())  # type: ignore[attr-defined]

# How long an example takes is the machine's affair, which other work may slow down.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


LONG = tuple(
    f"tests/{name}"
    for name in (
        "test_repro.py", "service/", "training/", "flows/", "stages/", "data/engines/", "tuning/", "report/", "export/",
        "models/test_export.py", "runtime/tasks/", "test_presets.py", "test_prefect_server.py", "test_raw_data.py",
        "test_folds.py", "tasks/",
    )
)  # fmt: skip
"""What takes a worker minutes; it comes first, so that no worker is left with it at the end."""
TOGETHER = ("tests/service/", "tests/flows/")
"""Folders whose tests share one server: one worker runs them all. Elsewhere it runs a whole file."""


RARE = ("engine", "house", "soak")
"""Markers of a few files, each asked for by itself."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """``-m engine`` leaves files alone that do not speak of it: to import them all takes half a minute."""
    wanted = config.option.markexpr
    if wanted in RARE and collection_path.suffix == ".py":
        return f"pytest.mark.{wanted}" not in collection_path.read_text(encoding="utf-8") or None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long ones first, each folder and file in its own order."""
    items.sort(key=lambda item: next((n for n, long in enumerate(LONG) if item.nodeid.startswith(long)), len(LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What the tests import stays for good: to look through it for garbage, then and ever after, is a quarter of it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """At its end the interpreter takes all of it apart: nanobind calls what stays a leak."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker makes once what a file, or a folder, trains or starts.

    Not ``--dist loadgroup``: with pytest 9.2 and pytest-xdist 3.8 it groups nothing, and says nothing.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return next((folder for folder in TOGETHER if file.startswith(folder)), file)

    return Together(config, log)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Each test starts from the same seeds, whatever ran before it."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
