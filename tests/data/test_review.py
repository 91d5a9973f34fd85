from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlp.data.review import ReviewError, accept, read_accepted, read_rejected, write_rejected


def test_nothing_was_decided_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_rejected(tmp_path) == {}
    assert read_accepted(tmp_path) is None


def test_what_is_written_is_read_with_its_score_and_note(tmp_path: Path) -> None:
    rows = [
        {"record": "a", "field": "captions[1]", "score": -3.14159, "note": "by the model"},
        {"record": "a", "field": "captions[0]"},
        {"record": "b\nc", "field": "record", "note": "a logo"},
    ]
    assert write_rejected(rows, tmp_path) == 3
    assert read_rejected(tmp_path) == {
        "a": {"captions[1]": "by the model, score -3.142", "captions[0]": "rejected in review"},
        "b\nc": {"record": "a logo"},
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "expected"),
        ("[]", "expected"),
        ('{"field": "record"}', "expected"),
        ('{"record": "a", "field": "image"}', "none of record"),
        ('{"record": 3, "field": "record"}', "none of record"),
    ],
)
def test_a_line_that_says_nothing_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "rejected.jsonl").write_text(f'{{"record": "a", "field": "record"}}\n\n{line}\n', encoding="utf-8")
    with pytest.raises(ReviewError, match=rf"rejected\.jsonl:3: .*{message}"):
        read_rejected(tmp_path)


def test_the_accepted_data_set_is_a_copy_of_a_profile(tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match="run the validate stage first"):
        accept(tmp_path / "profile.json", tmp_path / "review")
    (tmp_path / "profile.json").write_text(json.dumps({"records": 3, "distributions": {}}), encoding="utf-8")
    accept(tmp_path / "profile.json", tmp_path / "review")
    assert read_accepted(tmp_path / "review") == {"records": 3, "distributions": {}}


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_profile_that_is_none_says_how_to_write_it_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "accepted.json").write_text(content, encoding="utf-8")
    with pytest.raises(ReviewError, match="vlp accept"):
        read_accepted(tmp_path)
