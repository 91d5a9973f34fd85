"""Numbers of what was served, for drift to be judged by: written beside the predictions, never in their way.

A prediction only puts its arrays into a bounded queue. A thread of its own measures them and writes them with
``bentoml.monitor``, one JSON line an answer, to ``<folder>/vlp/data/data.<worker>.log``, a new file each day.
A full queue or a full disk costs records, which are counted, and nothing else.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import bentoml

from service import metrics
from service.guard import REQUEST_ID
from vlp.runtime.predictor import Answer
from vlp.runtime.served import Served, observe

NAME = "vlp"
PREDICTED = frozenset({"score"})
_WAITING = 128
"""Answers that may wait to be written; each holds its prepared image."""

log = logging.getLogger("vlp.records")
Job = tuple[Any, list[str], list[Answer], str, str]


class Records:
    """The log of served answers of this worker.

    Args:
        tokenizer: the bundle's own.
        bundle: names the bundle in every record.
    """

    def __init__(self, tokenizer: Any, bundle: str) -> None:
        self._tokenizer = tokenizer
        self._bundle = bundle
        self._queue = queue.Queue[Job | None](_WAITING)
        self._thread = threading.Thread(target=self._write_all, name="records", daemon=True)
        self._thread.start()

    def add(self, pixels: Any, texts: list[str], answers: list[Answer]) -> None:
        """Have one answered request written: its prepared image and clean texts, in the order of ``answers``."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            self._queue.put_nowait((pixels, texts, answers, REQUEST_ID.get(), now))
        except queue.Full:
            metrics.RECORDS_DROPPED.inc(len(answers))

    def close(self, seconds: float = 2.0) -> None:
        """Write what waits, for at most ``seconds``."""
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            log.warning("records were still waiting when the service stopped")
            return
        self._thread.join(seconds)

    def _write_all(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                pixels, texts, answers, request, at = job
                rows = observe(pixels, texts, answers, self._tokenizer, request=request, at=at, bundle=self._bundle)
                # A monitor that failed half-way leaves its context in pieces: each write has one of its own.
                contextvars.copy_context().run(_write, rows)
            except Exception:
                metrics.RECORDS_DROPPED.inc(len(job[2]))
                log.exception("a record could not be written")


def _write(rows: Sequence[Served]) -> None:
    table = [row.to_row() for row in rows]
    with bentoml.monitor(NAME) as monitor:
        for name in table[0]:
            kind = "categorical" if isinstance(table[0][name], str) else "numerical"
            role = "prediction" if name in PREDICTED else "feature"
            monitor.log_batch([row[name] for row in table], name=name, role=role, data_type=kind)
