"""Progress of a long loop: a bar on a terminal, plain lines elsewhere (a log file, a flow's log)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 5.0


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield ``items``, reporting on standard error how many are done, the rate and the time left.

    Args:
        items: what is looped over.
        what: the loop's name, a noun in the plural: ``records``, ``steps``.
        total: how many there are, where ``len(items)`` does not say.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=what, total=total, unit="", dynamic_ncols=True)
        return
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            _line(what, done, total, now - start)
    _line(what, done, total, time.monotonic() - start)


def _line(what: str, done: int, total: int | None, seconds: float) -> None:
    rate = done / seconds if seconds > 0 else 0.0
    left = f", {(total - done) / rate:.0f} s left" if total and rate and done < total else ""
    of = f"/{total}" if total is not None else ""
    print(f"{what}: {done}{of}, {rate:.1f}/s{left}", file=sys.stderr, flush=True)
