"""Several requests at once, answered by one run: whatever waits when a graph's turn comes goes into its next run.

No request waits for company: a run starts as soon as the processors are free, and holds what came meanwhile. So a
lonely request pays nothing, and a crowd is answered in ever larger batches. Only one graph of a bundle runs at a time,
on all the threads there are, so that runs never fight for cores.

Source: the idea is that of adaptive batching in Clipper (Crankshaw et al. 2017, https://arxiv.org/abs/1612.03079),
with the queue itself as the measure of load.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vlp.runtime.bundle import Part
from vlp.runtime.session import Engine

LENGTH = "length"
"""The axis along which a row is padded with zeros: what is beyond a text's end is masked."""
MASK = "attention_mask"
_WORTH = 2.0
"""A batch may have at most so many times the places that its rows need without padding."""

Ran = Callable[[int], None]
"""Told of each run, by the number of its rows."""


@dataclass(eq=False, slots=True)
class _Call:
    """One caller's arrays, and what became of them."""

    feeds: dict[str, np.ndarray]
    rows: int
    length: int
    done: bool = False
    outputs: list[np.ndarray] = field(default_factory=list)


class Batching:
    """An engine that runs together what several threads ask of it at once.

    Args:
        engine: runs the graph.
        part: the graph's inputs and outputs. Where the first axis of each is dynamic, it is the batch's.
        turn: held while the graph runs; shared by all graphs that use the same processors.
        most: rows of a run; one caller's larger batch runs by itself.
        ran: told of each run.
    """

    def __init__(
        self, engine: Engine, part: Part, turn: threading.Lock, most: int, ran: Ran = lambda rows: None
    ) -> None:
        self.inputs: Sequence[str] = engine.inputs
        self.outputs: Sequence[str] = engine.outputs
        self._engine = engine
        self._turn = turn
        self._most = most
        self._ran = ran
        self._part = part
        self._stacks = all(isinstance(port.shape[0], str) for port in (*part.inputs, *part.outputs))
        masked = any(port.name == MASK for port in part.inputs)
        self._padded = masked and any(LENGTH in port.shape for port in part.inputs)
        self._waiting: list[_Call] = []
        self._door = threading.Lock()

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """As of ``Engine``; blocks until these rows were part of a run."""
        call = _Call(feeds, len(next(iter(feeds.values()))), self._length(feeds))
        with self._door:
            self._waiting.append(call)
        while not call.done:  # twice where a run of several failed: whose fault it was shows alone
            with self._turn:
                if not call.done:
                    self._answer(self._taken(call))
        return call.outputs

    def _taken(self, own: _Call) -> list[_Call]:
        """``own``, and as many as fit of those that wait beside it; they wait no longer."""
        with self._door:
            if own not in self._waiting:  # taken before, by a run that failed
                return [own]
            taken = [own]
            for other in self._waiting:
                if other is not own and self._fits([*taken, other]):
                    taken.append(other)
            self._waiting = [call for call in self._waiting if call not in taken]
        return taken

    def _fits(self, calls: Sequence[_Call]) -> bool:
        rows = sum(call.rows for call in calls)
        if not self._stacks or rows > self._most or not all(self._alike(calls[0], call) for call in calls[1:]):
            return False
        needed = sum(call.rows * call.length for call in calls)
        return rows * max(call.length for call in calls) <= _WORTH * needed

    def _alike(self, one: _Call, other: _Call) -> bool:
        """Whether they can be laid on each other: equal on every axis but the batch's and the padded one."""
        for port in self._part.inputs:
            shapes = zip(port.shape[1:], one.feeds[port.name].shape[1:], other.feeds[port.name].shape[1:], strict=True)
            if any(mine != its and not (self._padded and name == LENGTH) for name, mine, its in shapes):
                return False
        return True

    def _answer(self, calls: Sequence[_Call]) -> None:
        """Run ``calls`` together and give each its rows. If several fail together, they stay as they were."""
        rows = sum(call.rows for call in calls)
        try:
            found = self._engine.run(calls[0].feeds if len(calls) == 1 else self._stacked(calls))
        except Exception:
            if len(calls) == 1:
                raise
            return
        self._ran(rows)
        start = 0
        for call in calls:
            end = start + call.rows
            call.outputs = found if len(calls) == 1 else self._cut(found, slice(start, end), call.length)
            call.done = True
            start = end

    def _stacked(self, calls: Sequence[_Call]) -> dict[str, np.ndarray]:
        longest = max(call.length for call in calls)
        stacked = {}
        for port in self._part.inputs:
            arrays = [call.feeds[port.name] for call in calls]
            if self._padded and LENGTH in port.shape:
                axis = port.shape.index(LENGTH)
                arrays = [_pad(array, axis, longest) for array in arrays]
            stacked[port.name] = np.concatenate(arrays)
        return stacked

    def _cut(self, found: Sequence[np.ndarray], rows: slice, length: int) -> list[np.ndarray]:
        outputs = []
        for port, array in zip(self._part.outputs, found, strict=True):
            places = [slice(0, length) if self._padded and name == LENGTH else slice(None) for name in port.shape[1:]]
            outputs.append(array[(rows, *places)])
        return outputs

    def _length(self, feeds: dict[str, np.ndarray]) -> int:
        """Of the padded axis; 1 where there is none."""
        for port in self._part.inputs:
            if self._padded and LENGTH in port.shape:
                return feeds[port.name].shape[port.shape.index(LENGTH)]
        return 1


def _pad(array: np.ndarray, axis: int, length: int) -> np.ndarray:
    if array.shape[axis] == length:
        return array
    width = [(0, 0)] * array.ndim
    width[axis] = (0, length - array.shape[axis])
    return np.pad(array, width)
