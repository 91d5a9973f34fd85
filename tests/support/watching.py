"""What a module is asked, while something else runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def rows(module: nn.Module) -> Iterator[list[int]]:
    """How many rows each pass of the module has, in the order of the passes."""
    seen: list[int] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    try:
        yield seen
    finally:
        handle.remove()
