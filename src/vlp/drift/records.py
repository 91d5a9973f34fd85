"""Served records, read back: one row a request, in the order of time, whatever files they were written to.

Rows of one request share an image and are no independent observations, so each request counts once: with one of
its texts, drawn by the request's own name, which is the same whenever it is read and favours no place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vlp.runtime.served import Served, ServedError

Place = tuple[str, str]
"""Time in UTC, ISO 8601 to the microsecond, and the request's name: where in the log a request stands."""
MATCHING = "matching"
FILES = ("data.*.log*", "*.jsonl")
"""What ``bentoml.monitor`` calls its logs of data, those of other days too (schemas lie beside), and plain files."""


class DriftError(ValueError):
    """Drift cannot be judged; the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Log:
    """What was read of a log."""

    requests: list[Served]
    """One row a request, oldest first."""
    refused: list[str]
    """Lines that are no records, each as ``file:line: reason``."""


def place(row: Served) -> Place:
    """Where ``row``'s request stands in the log."""
    at = datetime.fromisoformat(row.at).astimezone(UTC).isoformat(timespec="microseconds") if row.at else ""
    return at, row.request


def read(folder: Path, *, after: Place | None = None, before: datetime | None = None) -> Log:
    """The requests in every file of ``FILES`` below ``folder``, or in the file ``folder`` itself.

    A last line without its end is being written, and is left for the next time.

    Args:
        folder: what the service writes.
        after: only requests that stand later in the log than this.
        before: only requests answered before this time: workers write side by side, so that the last seconds of
            their logs are not whole yet.

    Raises:
        DriftError: there is no such file or folder.
    """
    if not folder.exists():
        raise DriftError(f"{folder}: no such file or folder of served records")
    oldest = datetime.fromisoformat(after[0]).timestamp() if after and after[0] else 0.0
    files = [folder] if folder.is_file() else sorted({file for pattern in FILES for file in folder.rglob(pattern)})
    rows: list[Served] = []
    refused: list[str] = []
    for file in files:
        if file.stat().st_mtime >= oldest:  # an older file has nothing new
            for row in _lines(file):
                rows.append(row) if isinstance(row, Served) else refused.append(row)
    latest = before.astimezone(UTC).isoformat(timespec="microseconds") if before else None
    requests = [
        row
        for row in one_a_request(row for row in rows if row.task == MATCHING)
        if (after is None or place(row) > after) and (latest is None or place(row)[0] < latest)
    ]
    return Log(requests, refused)


def load_reference(path: Path) -> list[Served]:
    """The rows of a reference: of the stage, or served records of a time that was good.

    Raises:
        DriftError: it is missing, empty, or has a line that is no record.
    """
    log = read(path)
    if log.refused:
        raise DriftError(log.refused[0])
    if not log.requests:
        raise DriftError(f"{path}: no record to compare with")
    return log.requests


def one_a_request(rows: Iterable[Served]) -> list[Served]:
    """Each request's one row, by time and name."""
    requests: dict[Place, list[Served]] = {}
    for row in rows:
        requests.setdefault(place(row), []).append(row)
    chosen = []
    for where in sorted(requests):
        texts = sorted(requests[where], key=lambda row: row.text)
        # Not a checksum: those of names that count upwards are anything but even.
        draw = int.from_bytes(hashlib.sha256(where[1].encode()).digest()[:8], "big")
        chosen.append(texts[draw % len(texts)])
    return chosen


def _lines(file: Path) -> Iterator[Served | str]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ServedError("expected an object")
                yield Served.from_row(row)
            except (ServedError, UnicodeDecodeError, json.JSONDecodeError) as error:
                yield f"{file}:{number}: {error}"
