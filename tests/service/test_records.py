from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from service import metrics, records
from support.bundles import picture
from vlp.runtime.predictor import Predictor


@pytest.fixture
def predictor(bundle: Path) -> Predictor:
    return Predictor.open(bundle)


def dropped() -> float:
    return metrics.RECORDS_DROPPED._value.get()


def test_a_prediction_neither_waits_for_a_full_queue_nor_fails(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, before = threading.Event(), dropped()
    monkeypatch.setattr(records, "_write", lambda rows: free.wait(10))
    log = records.Records(predictor.inputs.tokenizer, "toy")
    answers = predictor.task("matching").match_prepared(picture("red"), ["a red square"])
    begun = time.perf_counter()
    for _ in range(1000):
        log.add(picture("red"), ["a red square"], answers)
    assert time.perf_counter() - begun < 1
    assert 850 <= dropped() - before < 1000
    free.set()
    log.close()


def test_a_disk_that_fails_costs_records_and_nothing_else(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, before = [], dropped()

    def broken_once(rows: Any) -> None:
        if not written:
            written.append("failed")
            raise OSError("no space left on device")
        written.append(rows)

    monkeypatch.setattr(records, "_write", broken_once)
    log = records.Records(predictor.inputs.tokenizer, "toy")
    answers = predictor.task("matching").match_prepared(picture("red"), ["a red square"])
    for _ in range(2):
        log.add(picture("red"), ["a red square"], answers)
    log.close()
    assert dropped() - before == 1
    assert written[1][0].score == answers[0].score
