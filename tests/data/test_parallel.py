from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.mapped import double, refuse_fives
from vlp.data import parallel
from vlp.data.parallel import ITEMS_PER_CHUNK, TOO_FEW_FOR_PROCESSES, cores, ordered_map


def counted(limit: int, read: list[int]) -> Iterator[int]:
    for number in range(limit):
        read.append(number)
        yield number


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


def test_a_failure_in_a_process_is_a_failure_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "TOO_FEW_FOR_PROCESSES", 2)
    with pytest.raises(ValueError, match="five"):
        list(ordered_map(refuse_fives, range(20), processes=2))


def test_there_is_a_core() -> None:
    assert cores() >= 1
