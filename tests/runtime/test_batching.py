"""Requests of several threads, answered by one run: who waits goes along, and nobody sees another's rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from support.bundles import COLOURS, png, write_toy_bundle
from vlp.runtime.batching import Batching
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
            until(lambda count=index: len(engine.runs) == 1 and len(batching._waiting) == count)
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
    engine: Engine, most: int = 8, part: Part = TEXTS, ran: Callable[[int], None] = lambda rows: None
) -> Batching:
    return Batching(engine, part, threading.Lock(), most, ran)


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
