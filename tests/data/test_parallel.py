from __future__ import annotations

import os
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from support.mapped import double, process, refuse_fives
from vlp.data import parallel
from vlp.data.parallel import ITEMS_PER_CHUNK, TOO_FEW_FOR_PROCESSES, cores, ordered_map


def counted(limit: int, read: list[int]) -> Iterator[int]:
    for number in range(limit):
        read.append(number)
        yield number


def until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_few_items_are_mapped_in_this_process() -> None:
    assert list(ordered_map(double, range(10))) == list(range(0, 20, 2))


def test_many_items_are_mapped_by_processes_in_order() -> None:
    count = TOO_FEW_FOR_PROCESSES + 3 * ITEMS_PER_CHUNK + 1
    assert list(ordered_map(double, range(count), processes=2)) == list(range(0, 2 * count, 2))


def test_items_are_read_only_as_far_ahead_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "TOO_FEW_FOR_PROCESSES", 10)
    read: list[int] = []
    results = ordered_map(double, counted(100_000, read), processes=2)
    assert next(results) == 0
    results.close()
    assert len(read) <= 10 * ITEMS_PER_CHUNK


def test_items_of_many_bytes_are_read_less_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "TOO_FEW_BYTES_FOR_PROCESSES", 50)
    monkeypatch.setattr(parallel, "BYTES_PER_CHUNK", 20)
    read: list[int] = []
    results = ordered_map(double, counted(100_000, read), processes=2, size=lambda _: 10)
    assert next(results) == 0
    assert len(read) == 5 * 2, "two items are a chunk, and five chunks wait for two processes"
    assert [next(results) for _ in range(99)] == list(range(2, 200, 2))
    results.close()
    assert len(read) < 200


@pytest.mark.parametrize("bytes_each", [0, 7, 10**9])
def test_the_size_of_items_changes_no_result(monkeypatch: pytest.MonkeyPatch, bytes_each: int) -> None:
    monkeypatch.setattr(parallel, "TOO_FEW_BYTES_FOR_PROCESSES", 50)
    monkeypatch.setattr(parallel, "BYTES_PER_CHUNK", 20)
    found = ordered_map(double, range(30), processes=2, few=8, at_once=4, size=lambda _: bytes_each)
    assert list(found) == list(range(0, 60, 2))


def test_few_items_of_few_bytes_are_mapped_in_this_process() -> None:
    here = os.getpid()
    assert set(ordered_map(process, range(3), processes=2, size=lambda _: 10)) == {here}
    assert here not in set(ordered_map(process, range(3), processes=2, size=lambda _: 10**9))


def test_a_failure_in_a_process_is_a_failure_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "TOO_FEW_FOR_PROCESSES", 2)
    with pytest.raises(ValueError, match="five"):
        list(ordered_map(refuse_fives, range(20), processes=2))


def test_how_many_are_few_is_for_the_caller_to_say() -> None:
    here = os.getpid()
    assert set(ordered_map(process, range(3), processes=2, at_once=1)) == {here}
    assert here not in set(ordered_map(process, range(3), processes=2, at_once=1, few=3))


def test_processes_end_with_one_that_is_killed_alone(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from support.mapped import stay
from vlp.data.parallel import ordered_map
list(ordered_map(stay, [Path(sys.argv[1])] * 2, processes=2, at_once=1, few=0))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment)
    workers: list[int] = []
    try:
        until(lambda: len(list(tmp_path.iterdir())) == 2, 120)
        workers = [int(path.name) for path in tmp_path.iterdir()]
        assert all(map(runs, workers))
        parent.kill()
        until(lambda: not any(map(runs, workers)), 10)
    finally:
        parent.kill()
        parent.wait()
        for left in filter(runs, workers):
            psutil.Process(left).kill()


def test_there_is_a_core() -> None:
    assert cores() >= 1


def test_what_was_handed_on_is_let_go_of() -> None:
    class Thing:
        pass

    alive: list[weakref.ref[Thing]] = []

    def things() -> Iterator[Thing]:
        for _ in range(50):
            thing = Thing()
            alive.append(weakref.ref(thing))
            yield thing
            del thing

    counts = [sum(each() is not None for each in alive) for _ in ordered_map(id, things(), processes=1)]
    assert counts[-1] <= 2
