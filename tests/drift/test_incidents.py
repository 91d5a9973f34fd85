from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from support.requests import LIMITS, START, requests, write
from vlp.drift.incidents import State, Window, acknowledge, check, follow
from vlp.drift.records import DriftError

WINDOW = LIMITS.window


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return write(tmp_path / "reference.jsonl", requests(500, seed=1, reference=True))


def served(folder: Path, first: int, windows: float, **shift: object) -> None:
    """Some more windows of requests, the ``first``-th second on, in a file of their own."""
    rows = requests(int(windows * WINDOW), seed=100 + first, first=first * WINDOW, **shift)  # type: ignore[arg-type]
    write(folder / "served" / f"{first:03d}.jsonl", rows)


def told(folder: Path, reference: Path) -> tuple[int, int | None]:
    """How many windows a check compared, and the number of the incident that it would tell of; which is then told."""
    found = check(folder / "served", reference, folder / "state.json", LIMITS)
    if found.alert is not None:
        acknowledge(folder / "state.json")
    return len(found.compared), found.alert.number if found.alert else None


def test_what_did_not_shift_alerts_nobody(tmp_path, reference):
    served(tmp_path, 0, 10)
    assert told(tmp_path, reference) == (10, None)


def test_a_shift_alerts_once_an_incident_and_again_after_it_was_over(tmp_path, reference):
    served(tmp_path, 0, 2)
    assert told(tmp_path, reference) == (2, None)
    served(tmp_path, 2, 1, darker=25.0)
    assert told(tmp_path, reference) == (1, None), "one violated window of three is no incident"
    served(tmp_path, 3, 1, darker=25.0)
    assert told(tmp_path, reference) == (1, 1)
    served(tmp_path, 4, 3, darker=25.0)
    assert told(tmp_path, reference) == (3, None), "told once"
    served(tmp_path, 7, 3)
    assert told(tmp_path, reference) == (3, None)
    assert check(tmp_path / "served", reference, tmp_path / "state.json", LIMITS).state.incident is None, "over"
    served(tmp_path, 10, 2, longer=4)
    assert told(tmp_path, reference) == (2, 2)


def test_the_incident_names_what_drifted(tmp_path, reference):
    served(tmp_path, 0, 2, darker=25.0, longer=4)
    found = check(tmp_path / "served", reference, tmp_path / "state.json", LIMITS)
    assert found.alert is not None
    assert found.alert.features == ("blue", "green", "red", "words")
    assert found.alert.began == (START + timedelta(seconds=2 * WINDOW - 1)).isoformat(timespec="microseconds")


def test_an_alert_that_nobody_was_told_of_is_told_by_the_next_check(tmp_path, reference):
    served(tmp_path, 0, 2, darker=25.0)
    arguments = (tmp_path / "served", reference, tmp_path / "state.json", LIMITS)
    assert check(*arguments).alert is not None  # and then the process died
    again = check(*arguments)
    assert (again.compared, again.alert is not None) == ([], True)
    acknowledge(tmp_path / "state.json")
    assert check(*arguments).alert is None


def test_requests_wait_until_they_make_a_window_and_none_counts_twice(tmp_path, reference):
    served(tmp_path, 0, 1.5)
    found = check(tmp_path / "served", reference, tmp_path / "state.json", LIMITS)
    assert (len(found.compared), found.waiting) == (1, WINDOW // 2)
    (tmp_path / "served" / "000.jsonl").unlink()
    served(tmp_path, 0, 2)
    found = check(tmp_path / "served", reference, tmp_path / "state.json", LIMITS)
    assert (len(found.compared), found.waiting) == (1, 0)
    assert check(tmp_path / "served", reference, tmp_path / "state.json", LIMITS).compared == []


def test_requests_of_the_last_moment_are_left_for_the_next_check(tmp_path, reference):
    served(tmp_path, 0, 1)
    moment = START + timedelta(seconds=WINDOW - 1)
    found = check(tmp_path / "served", reference, tmp_path / "state.json", LIMITS, before=moment)
    assert (found.compared, found.waiting) == ([], WINDOW - 1)


def test_another_reference_begins_anew_without_reading_again(tmp_path, reference):
    served(tmp_path, 0, 2, darker=25.0)
    assert told(tmp_path, reference) == (2, 1)
    write(reference, requests(500, seed=5, reference=True, darker=25.0))
    found = check(tmp_path / "served", reference, tmp_path / "state.json", LIMITS)
    assert (found.compared, found.state.incident, found.state.windows, found.state.incidents) == ([], None, (), 1)


def test_an_incident_is_over_only_after_as_many_quiet_windows_as_are_looked_back_at():
    state, said = State("r"), []
    for violated in (1, 1, 0, 0, 1, 0, 0, 0, 1, 1):
        state = follow(state, Window("t", ("red",) if violated else ()), LIMITS)
        said.append(state.incident.number if state.incident else 0)
    assert said == [0, 1, 1, 1, 1, 1, 1, 0, 0, 2]


def test_a_state_that_cannot_be_read_is_an_error_that_names_it(tmp_path, reference):
    served(tmp_path, 0, 1)
    (tmp_path / "state.json").write_text('{"reference": "x"}', encoding="utf-8")
    with pytest.raises(DriftError, match=r"state\.json: not the state of a check .* move it away to begin anew"):
        check(tmp_path / "served", reference, tmp_path / "state.json", LIMITS)


def test_the_state_is_small_and_plain(tmp_path, reference):
    served(tmp_path, 0, LIMITS.last + 2)
    check(tmp_path / "served", reference, tmp_path / "state.json", LIMITS)
    state = json.loads((tmp_path / "state.json").read_text(encoding="utf-8"))
    assert len(state["windows"]) == LIMITS.last


@pytest.mark.parametrize("content", ["", "{\n", '{"request": "r"}\n'])
def test_a_reference_that_is_none_is_an_error(tmp_path, reference, content):
    served(tmp_path, 0, 1)
    reference.write_text(content, encoding="utf-8")
    with pytest.raises(DriftError, match=r"reference\.jsonl"):
        check(tmp_path / "served", reference, tmp_path / "state.json", LIMITS)
