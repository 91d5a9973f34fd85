from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.bundles import write_prepared
from vlp.cli import main
from vlp.suspects import scoring


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(*pairs: tuple[str, str]) -> str:
    return "".join(json.dumps({"record": record, "field": field, "score": -1.5}) + "\n" for record, field in pairs)


def rejected() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("review/rejected.jsonl").read_text(encoding="utf-8").splitlines()]


def test_what_is_left_in_a_file_is_added_to_what_was_rejected_before(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.jsonl").write_text(rows(("a", "captions[0]"), ("b", "captions[1]")), encoding="utf-8")
    Path("review").mkdir()
    Path("review/rejected.jsonl").write_text(
        '{"record": "a", "field": "captions[0]", "note": "me"}\n', encoding="utf-8"
    )
    main(["clean", "--reject", "mine.jsonl"])
    assert [(row["record"], row["field"], row["note"]) for row in rejected()] == [
        ("a", "captions[0]", "me"),
        ("b", "captions[1]", "vlp clean"),
    ]
    assert "1 more pairs, 2 in all" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", '{"record": "a"}', "[]"])
def test_a_file_that_is_no_ranking_is_named_and_nothing_is_written(
    project: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.jsonl").write_text(content + "\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["clean", "--reject", "mine.jsonl"])
    assert "mine.jsonl:1: not a line of suspects.jsonl" in capsys.readouterr().err
    assert not Path("review").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--worst", "0"], "--worst must be at least 1"),
        ([], "run the preprocess stage first"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    project: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["clean", *arguments])
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_split_that_is_named_twice_is_ranked_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_prepared(Path("data/prepared"), records=3)
    Path("data/prepared/rejects.jsonl").write_text("", encoding="utf-8")
    monkeypatch.setattr(scoring, "scorer", lambda *_: lambda split, rows, texts: np.zeros(len(texts)))
    main(["clean", "--split", "test", "--split", "test", "--by", "caption"])
    listed = Path("reports/suspects/suspects.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(listed) == len(set(listed)) == 3 * 2


def test_a_data_set_is_accepted_by_its_profile(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data/validated").mkdir(parents=True)
    Path("data/validated/profile.json").write_text('{"records": 12, "distributions": {}}', encoding="utf-8")
    main(["accept"])
    assert json.loads(Path("review/accepted.json").read_text(encoding="utf-8"))["records"] == 12
    assert "accepted: 12 records" in capsys.readouterr().out


def test_without_a_validated_data_set_it_says_which_stage_to_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["accept"])
    assert "run the validate stage first" in capsys.readouterr().err
