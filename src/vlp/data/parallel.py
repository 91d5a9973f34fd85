"""One function over many items on all cores: in order, in bounded memory."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

ITEMS_PER_CHUNK = 64
TOO_FEW_FOR_PROCESSES = 1024  # starting them costs as much as about so many images
# Of items whose size is known: photographs are fifty times as many bytes as what the numbers above were chosen for.
BYTES_PER_CHUNK, TOO_FEW_BYTES_FOR_PROCESSES = 16 * 2**20, 128 * 2**20


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    processes: int | None = None,
    at_once: int = ITEMS_PER_CHUNK,
    few: int | None = None,
    size: Callable[[Item], int] | None = None,
) -> Iterator[Result]:
    """``map(function, items)``, by several processes where that pays; results keep the order of ``items``.

    ``items`` is read only a few chunks ahead, so that a million records need no more memory than a thousand, nor, where
    their size is known, photographs more than thumbnails.
    The processes end with this one, however it ends.

    Args:
        function: a function of a module, or a ``partial`` of one: it is sent to fresh interpreters, since
            forking a process that has threads can lock it up.
        items: its arguments, read as they are needed.
        processes: how many; None for one a core.
        at_once: items that are sent to a process together; for 1, items are many in themselves.
        few: fewer items than this are mapped by this process alone; None where an item takes as long as one image.
        size: bytes of an item: many bytes are many items, and fewer are read ahead and sent together; None: by
            number only.
    """
    items, processes = iter(items), processes or cores()
    few = TOO_FEW_FOR_PROCESSES * at_once // ITEMS_PER_CHUNK if few is None else few
    first = deque(_at_most(items, few, TOO_FEW_BYTES_FOR_PROCESSES, size))
    too_few = len(first) < few and (size is None or sum(map(size, first)) < TOO_FEW_BYTES_FOR_PROCESSES)
    every = itertools.chain(_emptied(first), items)
    if processes == 1 or too_few:
        yield from map(function, every)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_end_with_parent) as pool:
        waiting: deque[Future[list[Result]]] = deque()
        try:
            for chunk in _chunks(every, at_once, size):
                waiting.append(pool.submit(partial(_apply, function), chunk))
                if len(waiting) > 2 * processes:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            raise ChildProcessError("a worker process was ended from outside; was memory short?") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _emptied(items: deque[Item]) -> Iterator[Item]:
    """The items, each let go of as it is taken."""
    while items:
        yield items.popleft()


def _chunks(items: Iterator[Item], count: int, size: Callable[[Item], int] | None) -> Iterator[list[Item]]:
    while chunk := list(_at_most(items, count, BYTES_PER_CHUNK, size)):
        yield chunk


def _at_most(items: Iterator[Item], count: int, most_bytes: int, size: Callable[[Item], int] | None) -> Iterator[Item]:
    """The next ``count`` items, or fewer: up to the one with which they are ``most_bytes``."""
    held = 0
    for item in itertools.islice(items, count):
        yield item
        if size is not None and (held := held + size(item)) >= most_bytes:
            return


def _apply(function: Callable[[Item], Result], chunk: list[Item]) -> list[Result]:
    return [function(item) for item in chunk]


def _end_with_parent() -> None:
    """End this process when its parent is gone.

    A worker waits for work on a pipe that it holds the other end of, too: a parent that is killed alone leaves it
    waiting for ever. Linux could signal the death of a parent, but of the thread that started the worker; this is
    the death of the process, on every system.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)  # at once: whoever would be told of a cleaner end is no more

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
