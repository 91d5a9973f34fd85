from __future__ import annotations

import pytest

from vlp import progress


class Clock:
    """A clock that moves by ``step`` seconds whenever it is read."""

    def __init__(self, step: float) -> None:
        self.step, self.now = step, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(step=2.0)
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def test_items_pass_through_in_order():
    assert list(progress.track(iter("abc"), "letters")) == ["a", "b", "c"]


def test_in_a_log_there_is_a_plain_line_every_five_seconds_and_one_at_the_end(clock, capsys):
    list(progress.track(range(6), "records"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "records: 3/6, 0.5/s, 6 s left",
        "records: 6/6, 0.5/s",
        "records: 6/6, 0.4/s",
    ]


def test_without_a_length_the_line_says_how_many_are_done(clock, capsys):
    list(progress.track(iter(range(1)), "records"))
    assert capsys.readouterr().err == "records: 1, 0.2/s\n"


def test_nothing_to_do_is_said_too(capsys):
    assert list(progress.track([], "records")) == []
    assert capsys.readouterr().err.startswith("records: 0/0")


def test_on_a_terminal_there_is_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(progress.track(range(3), "steps")) == [0, 1, 2]
    shown = capsys.readouterr().err
    assert "steps: 100%" in shown
    assert "3/3" in shown


def test_standard_output_stays_data(capsys):
    list(progress.track(range(3), "steps"))
    assert capsys.readouterr().out == ""
