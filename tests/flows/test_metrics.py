"""Figures are read from the files that stages write, now and at a commit."""

from __future__ import annotations

import json

import pytest

from flows import metrics
from support import pipelines


def test_every_number_has_a_name_and_nothing_else_has():
    flat = metrics._flat({"a": {"b": [0.5, 2]}, "c": True, "d": None, "e": "text"}, ("matching",))
    assert flat == {"matching.a.b.0": 0.5, "matching.a.b.1": 2.0}


def test_a_commit_keeps_its_figures(project):
    before = metrics.read(project)
    assert before["timing.export.matching.onnxruntime.latency_ms_p50"] == 10.0
    head = pipelines.git(project, "rev-parse", "HEAD")
    (project / "metrics" / "matching.json").write_text(json.dumps({"accuracy": 0.25}))
    assert metrics.at(project, head) == before
    assert metrics.read(project)["matching.accuracy"] == 0.25
    (project / "metrics" / "matching.json").write_text("{")
    with pytest.raises(ValueError, match=r"matching\.json: not valid JSON"):
        metrics.read(project)


def test_the_table_tells_the_difference_and_hides_no_missing_side():
    rows = metrics.table({"a": 0.75, "new": 1.0, "same": 3.0}, {"a": 0.5, "gone": 2.0, "same": 3.0})
    assert rows == [
        {"metric": "a", "this run": "0.75", "champion": "0.5", "difference": "+0.25"},
        {"metric": "gone", "this run": "", "champion": "2", "difference": ""},
        {"metric": "new", "this run": "1", "champion": "", "difference": ""},
        {"metric": "same", "this run": "3", "champion": "3", "difference": "0"},
    ]
    assert metrics.table({"a": 1.0}, None) == [{"metric": "a", "this run": "1", "champion": "", "difference": ""}]
