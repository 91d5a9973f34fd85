"""The cores of this machine: processes that map the ingested shards themselves, so that no picture is sent to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Self, TypeVar

from vlp.data.parallel import ordered_map
from vlp.params import Section

Result = TypeVar("Result")


class Params(Section):
    """``engines.local``: nothing to choose."""


class Engine:
    """Maps parts, in order; a context manager, as every engine is.

    Args:
        params: none to choose.
    """

    rows = 64
    """Rows of a part."""

    def __init__(self, params: Params | None = None) -> None:
        del params

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Callable[..., Result], parts: Iterable[tuple[Any, Any]]) -> Iterator[Result]:
        """``function(slice.table(), fates)`` of every (slice, fates), in order."""
        yield from ordered_map(partial(_apply, function), parts, at_once=1)


def _apply(function: Callable[..., Result], part: tuple[Any, Any]) -> Result:
    some, fates = part
    return function(some.table(), fates)
