"""Several requests at once, answered by one run: whatever waits when a graph's turn comes goes into its next run.

A run starts as soon as the processors are free, and holds what came meanwhile. So a lonely request pays nothing, and a
crowd is answered in ever larger batches. Only one graph of a bundle runs at a time, on all the threads there are, so
that runs never fight for cores.

Who was answered together goes on together: the first of them to ask for another run waits for the rest, a moment that
is short beside the run they had. Otherwise a crowd would fall apart at its second graph, one running while the others,
a millisecond behind, wait for it.

Source: the idea is that of adaptive batching in Clipper (Crankshaw et al. 2017, https://arxiv.org/abs/1612.03079),
with the queue itself as the measure of load.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vlp.runtime.bundle import Part
from vlp.runtime.session import Engine

LENGTH = "length"
"""The axis along which a row is padded with zeros: what is beyond a text's end is masked."""
MASK = "attention_mask"
PATIENCE = 0.125
"""The most that who comes back from a shared run waits for those it shared it with, as a share of what it took."""
_WORTH = 2.0
"""A batch may have at most so many times the places that its rows need without padding."""

Ran = Callable[[int], None]
"""Told of each run, by the number of its rows."""


@dataclass(eq=False, slots=True)
class _Call:
    """One caller's arrays, and what became of them."""

    graph: Batching
    feeds: dict[str, np.ndarray]
    rows: int
    length: int
    thread: int = field(default_factory=threading.get_ident)
    returned: int | None = None
    """The run that the caller comes back from, if none has ended since."""
    woken: threading.Event = field(default_factory=threading.Event)
    """It is answered, or else it is this caller's to run what waits."""
    outputs: list[np.ndarray] | None = None
    error: Exception | None = None

    @property
    def answered(self) -> bool:
        return self.outputs is not None or self.error is not None


class Turn:
    """Who runs next: one caller at a time, for itself and for those who fit, the longest waiting first.

    Shared by all graphs that use the same processors. The caller whose turn it is does the work in its own thread; the
    others sleep until they are answered or it is theirs.

    Args:
        patience: seconds that a returning caller waits for its company, for each second of the run they shared.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._state = threading.Condition()
        self._waiting: list[_Call] = []  # while there are any, it is somebody's turn
        self._taken = False
        self._run = 0  # how many have ended
        self._away: set[int] = set()  # threads that the last run answered and that have not come back
        self._until = 0.0

    @property
    def waiting(self) -> int:
        """Calls that no run has begun for."""
        with self._state:
            return len(self._waiting)

    def join(self, call: _Call) -> None:
        """Queue up; ``call`` is woken at once if it is nobody's turn."""
        with self._state:
            call.returned = self._run if call.thread in self._away else None
            self._away.discard(call.thread)
            self._waiting.append(call)
            if not self._taken:
                call.woken.set()  # first: an interrupted caller gives its turn back only if it knows that it has it
                self._taken = True
            elif call.returned is not None and not self._away:
                self._state.notify_all()

    def begin(self, own: _Call) -> list[_Call]:
        """What runs now: ``own``, whose turn it is, and as many as fit of those that wait beside it."""
        with self._state:
            if own.returned == self._run:  # after another run, those who are away are strangers
                self._state.wait_for(lambda: not self._away, self._until - time.monotonic())
            taken = [own]
            for other in self._waiting:
                if other is not own and other.graph is own.graph and own.graph.fits([*taken, other]):
                    taken.append(other)
            self._waiting = [call for call in self._waiting if call not in taken]
        return taken

    def end(self, own: _Call, calls: Sequence[_Call], seconds: float) -> None:
        """Wake those who are answered, and whose turn it is next.

        Who is not answered, since the thread of ``own`` was interrupted, queues up again, in front.
        """
        with self._state:
            answered = [call for call in calls if call.answered]
            self._run += 1
            self._away = {call.thread for call in answered} if len(answered) > 1 else set()
            self._until = time.monotonic() + self._patience * seconds
            for call in answered:
                call.woken.set()
            again = [call for call in calls if not call.answered]
            self._waiting = [call for call in (*again, *self._waiting) if call is not own]
            self._pass_on()

    def leave(self, call: _Call) -> None:
        """``call``'s thread is interrupted: nobody is to wait for it, and no run is to be its to do."""
        with self._state:
            if call in self._waiting:
                self._waiting.remove(call)
                if call.woken.is_set():
                    self._pass_on()
            elif not call.answered:  # part of a run: if that fails, it does not queue up again
                call.error = RuntimeError("its caller has left")

    def _pass_on(self) -> None:
        self._taken = bool(self._waiting)
        if self._waiting:
            self._waiting[0].woken.set()


class Batching:
    """An engine that runs together what several threads ask of it at once.

    Args:
        engine: runs the graph.
        part: the graph's inputs and outputs. Where the first axis of each is dynamic, it is the batch's.
        turn: shared by all graphs that use the same processors.
        most: rows of a run; one caller's larger batch runs by itself.
        ran: told of each run.
    """

    def __init__(self, engine: Engine, part: Part, turn: Turn, most: int, ran: Ran = lambda rows: None) -> None:
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

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """As of ``Engine``; blocks until these rows were part of a run."""
        call = _Call(self, feeds, len(next(iter(feeds.values()))), self._length(feeds))
        try:
            self._turn.join(call)
            call.woken.wait()
            if not call.answered:
                self._lead(call)
        except BaseException:
            self._turn.leave(call)
            raise
        if call.error is not None:
            raise call.error
        assert call.outputs is not None
        return call.outputs

    def _lead(self, own: _Call) -> None:
        """Run ``own`` and what fits beside it."""
        calls: Sequence[_Call] = [own]
        begun = time.monotonic()
        try:
            calls = self._turn.begin(own)
            begun = time.monotonic()
            self._answer(calls)
        finally:
            self._turn.end(own, calls, time.monotonic() - begun)

    def fits(self, calls: Sequence[_Call]) -> bool:
        """Whether one run may answer all of ``calls``."""
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
        """Run ``calls`` together and give each its rows; by itself each, if that fails: who is at fault fails alone."""
        try:
            found = self._engine.run(calls[0].feeds if len(calls) == 1 else self._stacked(calls))
        except Exception as error:  # noqa: BLE001 - it is raised where the rows came from
            if len(calls) == 1:
                calls[0].error = error
                return
            for call in calls:
                self._answer([call])
            return
        self._ran(sum(call.rows for call in calls))
        start = 0
        for call in calls:
            end = start + call.rows
            call.outputs = found if len(calls) == 1 else self._cut(found, slice(start, end), call.length)
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
