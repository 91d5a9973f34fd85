"""Requests of several threads, answered by one run: who waits goes along, and nobody sees another's rows."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from support.bundles import COLOURS, png, write_toy_bundle
from vlp.runtime.batching import Batching, Turn, _Call
from vlp.runtime.bundle import Part, Port
from vlp.runtime.predictor import Predictor

TEXTS = Part(
    file="sum.onnx",
    inputs=(Port("input_ids", "int64", ("texts", "length")), Port("attention_mask", "int64", ("texts", "length"))),
    outputs=(Port("sums", "float32", ("texts",)), Port("tokens", "float32", ("texts", "length", 1))),
)
CACHES = Part(
    file="last.onnx",
    inputs=(Port("past", "float32", ("images", "places")),),
    outputs=(Port("next", "float32", ("images",)),),
)


class Engine:
    """Adds up each row's ids where they are not masked; holds its first run until it is let go."""

    inputs: Sequence[str] = ("input_ids", "attention_mask")
    outputs: Sequence[str] = ("sums", "tokens")

    def __init__(self) -> None:
        self.go = threading.Event()
        self.runs: list[dict[str, np.ndarray]] = []

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.runs.append(feeds)
        self.go.wait(10)
        ids, mask = feeds["input_ids"], feeds["attention_mask"]
        if (ids == 13).any():
            raise RuntimeError("unlucky")
        return [(ids * mask).sum(1).astype(np.float32), ids[..., None].astype(np.float32)]


def row(*ids: int, rows: int = 1) -> dict[str, np.ndarray]:
    return {"input_ids": np.array([ids] * rows), "attention_mask": np.ones((rows, len(ids)), np.int64)}


def crowd(
    engine: Engine, batching: Batching, feeds: list[dict[str, np.ndarray]]
) -> list[Callable[[], list[np.ndarray]]]:
    """The first of ``feeds`` runs while the others come to wait; then all is let go. What each would return."""
    with ThreadPoolExecutor(len(feeds)) as pool:
        asked = []
        for index, each in enumerate(feeds):
            asked.append(pool.submit(batching.run, each))
            until(lambda count=index: len(engine.runs) == 1 and batching._turn.waiting == count)
        engine.go.set()
    return [each.result for each in asked]


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def engine() -> Engine:
    return Engine()


def batching(
    engine: Engine,
    most: int = 8,
    part: Part = TEXTS,
    ran: Callable[[int], None] = lambda rows: None,
    turn: Turn | None = None,
) -> Batching:
    return Batching(engine, part, turn or Turn(), most, ran)


def test_a_lonely_request_runs_as_it_came(engine: Engine) -> None:
    engine.go.set()
    feeds = row(1, 2)
    sums, tokens = batching(engine).run(feeds)
    assert engine.runs == [feeds]
    assert (sums.tolist(), tokens.tolist()) == ([3.0], [[[1.0], [2.0]]])


def test_what_waits_runs_together_and_each_gets_its_own_rows(engine: Engine) -> None:
    seen: list[int] = []
    answers = crowd(engine, batching(engine, ran=seen.append), [row(7), row(1, 2, rows=2), row(3, 4, 5), row(6)])
    found = [answer() for answer in answers]
    assert [sums.tolist() for sums, _ in found] == [[7.0], [3.0, 3.0], [12.0], [6.0]]
    assert [tokens.shape for _, tokens in found] == [(1, 1, 1), (2, 2, 1), (1, 3, 1), (1, 1, 1)]
    assert seen == [1, 4]
    assert engine.runs[1]["attention_mask"].sum(1).tolist() in ([2, 2, 3, 1], [3, 2, 2, 1], [1, 2, 2, 3])


def test_a_batch_has_no_more_rows_than_allowed(engine: Engine) -> None:
    answers = crowd(engine, batching(engine, most=2), [row(index) for index in range(6)])
    assert [answer()[0].tolist() for answer in answers] == [[float(index)] for index in range(6)]
    assert [len(feeds["input_ids"]) for feeds in engine.runs[1:]] in ([2, 2, 1], [2, 1, 2], [1, 2, 2])
    wide = row(5, rows=9)
    assert batching(engine, most=2).run(wide)[0].tolist() == [5.0] * 9


def test_a_short_text_does_not_wait_for_padding_that_costs_more_than_company_saves(engine: Engine) -> None:
    crowd(engine, batching(engine), [row(0), *[row(1)] * 3, row(*range(20, 40))])
    assert sorted(feeds["input_ids"].shape for feeds in engine.runs) == [(1, 1), (1, 20), (3, 1)]


def test_who_is_at_fault_fails_alone(engine: Engine) -> None:
    good, bad, other = crowd(engine, batching(engine), [row(0), row(13), row(4)])[0:3]
    assert (good()[0].tolist(), other()[0].tolist()) == ([0.0], [4.0])
    with pytest.raises(RuntimeError, match="unlucky"):
        bad()


class Stepping(Engine):
    """Holds every run until it is let go by itself, and fails as it is told to."""

    def __init__(self, *faults: BaseException | None) -> None:
        super().__init__()
        self.steps = threading.Semaphore(0)
        self.go.set()
        self._faults = list(faults)

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = super().run(feeds)
        assert self.steps.acquire(timeout=10)
        if self._faults and (fault := self._faults.pop(0)) is not None:
            raise fault
        return found


def queued(pool: ThreadPoolExecutor, graph: Batching, *feeds: dict[str, np.ndarray]) -> list[Future[list[np.ndarray]]]:
    """Each of ``feeds`` asked for by a thread of its own, in this order, while another run is under way."""
    asked = []
    for each in feeds:
        before = graph._turn.waiting
        asked.append(pool.submit(graph.run, each))
        until(lambda count=before + 1: graph._turn.waiting == count)
    return asked


def held(pool: ThreadPoolExecutor, engine: Stepping, graph: Batching) -> Future[list[np.ndarray]]:
    """A run that is under way."""
    found = pool.submit(graph.run, row(0))
    until(lambda: len(engine.runs) == 1)
    return found


def test_an_answer_does_not_wait_for_the_run_after_it() -> None:
    engine = Stepping()
    graph = batching(engine, most=2)
    with ThreadPoolExecutor(4) as pool:
        first = held(pool, engine, graph)
        one, other, last = queued(pool, graph, row(1), row(2), row(3))
        engine.steps.release(2)
        assert [asked.result(10)[0].tolist() for asked in (first, one, other)] == [[0.0], [1.0], [2.0]]
        until(lambda: len(engine.runs) == 3)
        assert not last.done()
        engine.steps.release()


def test_who_waits_longest_is_next_however_ill_it_fits() -> None:
    engine = Stepping()
    graph = batching(engine)
    long = row(*range(20, 40))
    with ThreadPoolExecutor(5) as pool:
        held(pool, engine, graph)
        queued(pool, graph, long, row(1, rows=2), row(2, rows=2))
        engine.steps.release(3)
    assert [feeds["input_ids"].shape for feeds in engine.runs] == [(1, 1), (1, 20), (4, 1)]


def two_graphs(patience: float, stay: Callable[[int], bool] = lambda index: True) -> list[int]:
    """Six callers put together by the first graph come to the second at different moments: the rows of its runs."""
    engine, turn, rows = Stepping(), Turn(patience), list[int]()
    first, second = batching(engine, turn=turn), batching(Engine(), turn=turn, ran=rows.append)
    second._engine.go.set()  # type: ignore[attr-defined]

    def ask(index: int) -> None:
        first.run(row(index))
        time.sleep(0.01 * index)
        if stay(index):
            second.run(row(index))

    with ThreadPoolExecutor(7) as pool:
        held(pool, engine, first)
        for index in range(6):
            pool.submit(ask, index)
            until(lambda count=index + 1: turn.waiting == count)
        engine.steps.release(2)
    return rows


def test_who_was_answered_together_goes_on_together() -> None:
    assert two_graphs(patience=1e6) == [6]
    assert len(two_graphs(patience=0.0)) > 1


def test_nobody_waits_for_long_for_company_that_does_not_come_back() -> None:
    assert sum(two_graphs(patience=1e-3, stay=lambda index: index < 4)) == 4


def test_who_was_not_in_the_last_run_waits_for_nobody() -> None:
    engine, turn = Stepping(), Turn(patience=1e6)
    graph = batching(engine, turn=turn)
    with ThreadPoolExecutor(3) as pool:
        held(pool, engine, graph)
        queued(pool, graph, row(1), row(2))
        engine.steps.release(2)
    engine.steps.release(2)  # both of the last run are gone for good
    begun = time.monotonic()
    assert [graph.run(row(index))[0].tolist() for index in (3, 4)] == [[3.0], [4.0]]
    assert time.monotonic() - begun < 5


def test_company_of_an_earlier_run_is_not_waited_for_by_who_missed_the_last() -> None:
    turn = Turn(patience=1e6)
    here, there = batching(Engine(), turn=turn), batching(Engine(), turn=turn)

    def asked(graph: Batching, thread: int) -> _Call:
        call = _Call(graph, row(1), 1, 1, thread=thread)
        turn.join(call)
        return call

    def ran(calls: list[_Call]) -> None:
        assert turn.begin(calls[0]) == calls
        for call in calls:
            call.outputs = []
        turn.end(calls[0], calls, 1.0)

    ran([asked(here, thread) for thread in (1, 2, 3)])
    back = [asked(here, 1), asked(here, 2)]
    late = asked(there, 3)
    ran(back)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(turn.begin, late).result(5) == [late]


def test_an_interrupted_run_is_run_again_for_the_others() -> None:
    engine = Stepping(None, KeyboardInterrupt())
    graph = batching(engine)
    with ThreadPoolExecutor(3) as pool:
        held(pool, engine, graph)
        interrupted, other = queued(pool, graph, row(1), row(2))
        engine.steps.release(3)
        assert isinstance(interrupted.exception(10), KeyboardInterrupt)
        assert other.result(10)[0].tolist() == [2.0]
    engine.steps.release()
    assert graph.run(row(3))[0].tolist() == [3.0]


def test_who_is_interrupted_while_it_waits_is_in_no_run() -> None:
    engine = Stepping()
    graph = batching(engine)

    def interrupt() -> None:
        until(lambda: graph._turn.waiting == 1)
        # CPython does not tell a thread of a signal that comes just before it blocks; by then it has.
        time.sleep(0.2)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    # A shell that starts the tests in the background leaves the signal to nobody.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ThreadPoolExecutor(2) as pool:
            held(pool, engine, graph)
            pool.submit(interrupt)
            with pytest.raises(KeyboardInterrupt):
                graph.run(row(1))
            assert graph._turn.waiting == 0
            engine.steps.release()
    finally:
        signal.signal(signal.SIGINT, before)
    engine.steps.release()
    assert graph.run(row(2))[0].tolist() == [2.0]
    assert len(engine.runs) == 2


class Last:
    """The last of each row; of caches, which nothing masks."""

    inputs: Sequence[str] = ("past",)
    outputs: Sequence[str] = ("next",)

    def __init__(self) -> None:
        self.go = threading.Event()
        self.runs: list[dict[str, np.ndarray]] = []

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.runs.append(feeds)
        self.go.wait(10)
        return [feeds["past"][:, -1]]


def test_what_cannot_be_masked_is_never_padded() -> None:
    engine = Last()
    pasts = [np.full((1, places), index, np.float32) for index, places in enumerate((1, 3, 2, 3))]
    answers = crowd(engine, batching(engine, part=CACHES), [{"past": past} for past in pasts])  # type: ignore[arg-type]
    assert [answer()[0].tolist() for answer in answers] == [[0.0], [1.0], [2.0], [3.0]]
    assert sorted(feeds["past"].shape for feeds in engine.runs[1:]) == [(1, 2), (2, 3)]


def test_a_bundle_answers_alike_in_any_company(tmp_path: Path) -> None:
    write_toy_bundle(tmp_path / "bundle", tmp_path / "work")
    rows: list[tuple[str, int]] = []
    alone = Predictor.open(tmp_path / "bundle", threads=1)
    together = Predictor.open(tmp_path / "bundle", threads=1, batch=8, ran=lambda *run: rows.append(run))
    asked = [
        (colour, ["a red square", "red", "a purple circle"][: 1 + index % 3])
        for index, colour in enumerate([*COLOURS] * 40)
    ]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: together.match(png(one[0]), one[1]), asked))
    assert found == [alone.match(png(colour), texts) for colour, texts in asked]
    assert {graph for graph, _ in rows} == {"matching/image", "matching/score"}
    assert sum(count for graph, count in rows if graph == "matching/image") == len(asked)
