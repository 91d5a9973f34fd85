"""One function over many items on all cores: in order, in bounded memory."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

ITEMS_PER_CHUNK = 64
TOO_FEW_FOR_PROCESSES = 1024  # starting them costs as much as about so many images


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    processes: int | None = None,
    at_once: int = ITEMS_PER_CHUNK,
) -> Iterator[Result]:
    """``map(function, items)``, by several processes where that pays; results keep the order of ``items``.

    ``items`` is read only a few chunks ahead, so that a million records need no more memory than a thousand.

    Args:
        function: a function of a module, or a ``partial`` of one: it is sent to fresh interpreters, since
            forking a process that has threads can lock it up.
        items: its arguments, read as they are needed.
        processes: how many; None for one a core.
        at_once: items that are sent to a process together; for 1, items are many in themselves.
    """
    items, processes = iter(items), processes or cores()
    few = TOO_FEW_FOR_PROCESSES * at_once // ITEMS_PER_CHUNK
    first = list(itertools.islice(items, few))
    if processes == 1 or len(first) < few:
        yield from map(function, itertools.chain(first, items))
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        waiting: deque[Future[list[Result]]] = deque()
        try:
            for chunk in _chunks(itertools.chain(first, items), at_once):
                waiting.append(pool.submit(partial(_apply, function), chunk))
                if len(waiting) > 2 * processes:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _chunks(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def _apply(function: Callable[[Item], Result], chunk: list[Item]) -> list[Result]:
    return [function(item) for item in chunk]
