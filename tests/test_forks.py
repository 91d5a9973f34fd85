"""A process that ran a flow can still fork workers: what tests/conftest.py sees to."""

from __future__ import annotations

import multiprocessing
import threading


def nothing() -> None:
    """What a worker does that has done its work."""


def test_what_a_process_is_to_do_at_its_end_is_not_its_workers_affair() -> None:
    def end() -> None:
        raise RuntimeError("the threads that this would end are not here")

    before = list(threading._threading_atexits)  # type: ignore[attr-defined]
    try:
        threading._register_atexit(end)  # type: ignore[attr-defined]
        worker = multiprocessing.get_context("fork").Process(target=nothing)
        worker.start()
        worker.join(30)
        assert worker.exitcode == 0
    finally:
        threading._threading_atexits[:] = before  # type: ignore[attr-defined]
