"""From violated windows to one alert an incident, remembered in a small JSON file.

An incident begins when ``violated`` of the ``last`` windows are violated, and is over when none of the last is. It is
told once: it stays ``announced: false`` in the file until whoever tells people says that they were told, so that a
check that dies in between tells again rather than never.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from vlp.drift import records
from vlp.drift.comparison import Comparison, compare
from vlp.drift.records import DriftError, Place
from vlp.drift.settings import DriftParams
from vlp.files import write_json


@dataclass(frozen=True, slots=True)
class Window:
    """What is remembered of one window."""

    ended: str
    """When its last request was answered, UTC."""
    violated: tuple[str, ...]
    """The features that drifted, farthest first."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Drift that was noticed and is not over."""

    number: int
    began: str
    """End of the window that made it one."""
    features: tuple[str, ...]
    """Every feature that drifted in the windows that made it one, sorted."""
    announced: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """What one check leaves for the next."""

    reference: str
    """SHA-256 of the reference: another one begins anew."""
    read_to: Place | None = None
    windows: tuple[Window, ...] = ()
    """The last ones, oldest first."""
    incident: Incident | None = None
    incidents: int = 0
    """How many there were so far."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found."""

    compared: list[tuple[Window, Comparison]]
    """The windows that were whole since the last check, oldest first."""
    waiting: int
    """Requests that do not make a window yet."""
    refused: list[str]
    """Lines of the log that are no records."""
    state: State

    @property
    def alert(self) -> Incident | None:
        """The incident that people are to be told of; None where there is none, or they were told."""
        found = self.state.incident
        return found if found is not None and not found.announced else None


def check(
    served: Path, reference: Path, state: Path, params: DriftParams, *, before: datetime | None = None
) -> Outcome:
    """Compare every window that is whole since the last check, and remember it.

    Args:
        served: folder of served records.
        reference: what the reference stage wrote, or served records of a good time.
        state: the file that remembers; made by the first check.
        params: windows and limits.
        before: only requests answered before this time.

    Raises:
        DriftError: one of the files cannot be used.
    """
    digest = hashlib.sha256(reference.read_bytes()).hexdigest() if reference.is_file() else ""
    known = records.load_reference(reference)
    now = _restore(state, digest)
    log = records.read(served, after=now.read_to, before=before)
    compared = []
    for start in range(0, len(log.requests) - params.window + 1, params.window):
        rows = log.requests[start : start + params.window]
        comparison = compare(rows, known, params)
        window = Window(records.place(rows[-1])[0], comparison.violated)
        now = follow(replace(now, read_to=records.place(rows[-1])), window, params)
        compared.append((window, comparison))
    write_json(state, asdict(now))
    return Outcome(compared, len(log.requests) % params.window, log.refused, now)


def follow(state: State, window: Window, params: DriftParams) -> State:
    """The state after one more window."""
    windows = (*state.windows, window)[-params.last :]
    violated = [each for each in windows if each.violated]
    incident, count = state.incident, state.incidents
    if incident is None and len(violated) >= params.violated:
        count += 1
        features = tuple(sorted({name for each in violated for name in each.violated}))
        incident = Incident(count, window.ended, features)
    elif incident is not None and not violated and len(windows) == params.last:
        incident = None
    return replace(state, windows=windows, incident=incident, incidents=count)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """``outcome`` as plain values, for whoever reads it from the command line."""
    windows = [asdict(window) | asdict(comparison) for window, comparison in outcome.compared]
    return {
        "windows": windows,
        "waiting": outcome.waiting,
        "refused": outcome.refused,
        "incident": asdict(outcome.state.incident) if outcome.state.incident else None,
        "alert": asdict(outcome.alert) if outcome.alert else None,
    }


def acknowledge(state: Path) -> None:
    """Remember that people were told of the incident in the file ``state``."""
    now = _restore(state, None)
    if now.incident is not None:
        write_json(state, asdict(replace(now, incident=replace(now.incident, announced=True))))


def _restore(path: Path, reference: str | None) -> State:
    """The state in ``path``; a new one where there is none, or it is of another reference."""
    if not path.exists():
        return State(reference or "")
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        state = State(
            reference=found["reference"],
            read_to=(found["read_to"][0], found["read_to"][1]) if found["read_to"] else None,
            windows=tuple(Window(each["ended"], tuple(each["violated"])) for each in found["windows"]),
            incident=_incident(found["incident"]),
            incidents=found["incidents"],
        )
    except (json.JSONDecodeError, KeyError, TypeError, IndexError) as error:
        raise DriftError(f"{path}: not the state of a check ({error!r}); move it away to begin anew") from None
    if reference is not None and state.reference != reference:
        return State(reference, read_to=state.read_to, incidents=state.incidents)
    return state


def _incident(found: dict[str, Any] | None) -> Incident | None:
    if found is None:
        return None
    return Incident(found["number"], found["began"], tuple(found["features"]), found["announced"])
