from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlp.report.predictions import MOST_EXAMPLES, compare, is_right, render
from vlp.report.revisions import ReportError


def file(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pair(record: str, caption: int, score: float, against: float = 0.5) -> dict[str, object]:
    return {"record": record, "caption": caption, "kind": "count", "score": score, "negative_score": against}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"correct": False, "score": 0.9, "negative_score": 0.1}, False),
        ({"score": 0.6, "negative_score": 0.5}, True),
        ({"score": 0.5, "negative_score": 0.5}, False),
        ({"score": 0.5, "negative_score": None}, None),
        ({"predicted": "red", "answer": "red"}, True),
        ({"labels": ["red", "circle"], "predicted": ["red", "circle"], "score": 0.9}, True),
        ({"labels": ["red", "circle"], "predicted": [], "score": 0.9}, False),
        ({"query": "image", "rank": 1}, True),
        ({"query": "image", "rank": 2}, False),
        ({"expression": "the red circle", "iou": 0.5, "boundary_f1": 0.1}, True),
        ({"expression": "the red circle", "iou": 0.49, "boundary_f1": 0.9}, False),
        ({"caption": "a red circle", "cider": 0.1, "faithful": True}, True),
        ({"prompt": "a red circle", "matching_score": 0.9, "faithful": False}, False),
        ({"caption": "a red circle", "faithful": None}, None),
    ],
)
def test_a_row_says_whether_it_is_right(row, expected):
    assert is_right(row) is expected


def test_rows_are_paired_by_record_and_place_and_sorted_by_how_far_they_moved(tmp_path):
    old = [pair("a", 0, 0.6), pair("a", 1, 0.6), pair("b", 0, 0.4), pair("c", 0, 0.9), pair("old", 0, 0.9)]
    new = [pair("b", 0, 0.7), pair("a", 0, 0.4), pair("a", 1, 0.1), pair("c", 0, 0.8), pair("new", 0, 0.9)]
    found = compare(file(tmp_path / "old", old), file(tmp_path / "new", new))
    assert (found.rows, found.only_old, found.only_new) == (4, 1, 1)
    assert [(each.record, each.old["caption"]) for each in found.worse] == [("a", 1), ("a", 0)]
    assert [each.record for each in found.better] == ["b"]
    text = render(found, ("main", "this branch"), lambda row: "")
    assert text.startswith(
        "Of 4 predictions that both have, 2 turned wrong, 1 turned right. 1 prediction only main has."
    )
    assert "| `a` | caption `1`; kind `count`; negative_score `0.5` | score 0.6 | score 0.1 |" in text


def test_answers_that_nobody_judged_are_compared_by_what_they_say(tmp_path):
    old = [{"record": "a", "caption": "a red circle", "score": 0.1}, {"record": "b", "caption": "two stars"}]
    new = [{"record": "a", "caption": "a red circle", "score": 0.2}, {"record": "b", "caption": "a star"}]
    found = compare(file(tmp_path / "old", old), file(tmp_path / "new", new))
    assert [each.record for each in found.other] == ["b"]
    text = render(found, ("main", "this branch"), lambda row: "")
    assert text.startswith(
        "Of 2 predictions that both have, 1 changed. Whether the rows turned right or wrong cannot be told: they do "
        "not say what is right."
    )


def test_rows_that_nobody_judged_are_counted_beside_those_that_somebody_did(tmp_path):
    old = [{"record": "a", "faithful": True}, {"record": "b", "faithful": None, "caption": "two stars"}]
    new = [{"record": "a", "faithful": False}, {"record": "b", "faithful": None, "caption": "a star"}]
    found = compare(file(tmp_path / "old", old), file(tmp_path / "new", new))
    assert render(found, ("main", "this branch"), lambda row: "").startswith(
        "Of 2 predictions that both have, 1 turned wrong, 0 turned right, 1 changed otherwise. Whether 1 row turned"
    )


def test_what_a_task_has_for_a_score_says_what_moved_farthest(tmp_path):
    old = [{"record": record, "query": "text", "rank": 1} for record in "abc"]
    new = [{"record": record, "query": "text", "rank": rank} for record, rank in (("a", 2), ("b", 90), ("c", 7))]
    found = compare(file(tmp_path / "old", old), file(tmp_path / "new", new))
    assert [each.record for each in found.worse] == ["b", "c", "a"]


def test_the_words_of_a_row_stand_in_for_its_place(tmp_path):
    found = compare(file(tmp_path / "old", [pair("a", 0, 0.6)]), file(tmp_path / "new", [pair("a", 0, 0.4)]))
    text = render(found, ("main", "this branch"), lambda row: "two stars / *one star*")
    assert "| `a` | two stars / *one star*; kind `count`; negative_score `0.5` |" in text


def test_only_some_examples_are_shown_and_all_are_counted(tmp_path):
    many = MOST_EXAMPLES + 4
    old = file(tmp_path / "old", [pair(f"r{place}", 0, 0.6) for place in range(many)])
    new = file(tmp_path / "new", [pair(f"r{place}", 0, 0.4) for place in range(many)])
    text = render(compare(old, new), ("main", "this branch"), lambda row: "")
    assert f"{many} turned wrong" in text
    assert text.count("| `r") == MOST_EXAMPLES


@pytest.mark.parametrize("line", ["{", "[1]", '{"score": 1}'])
def test_a_line_that_is_no_prediction_is_an_error(tmp_path, line):
    (tmp_path / "broken").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(ReportError, match=r"predictions\.jsonl, line 1: no JSON object with a record"):
        compare(tmp_path / "broken", tmp_path / "broken")
