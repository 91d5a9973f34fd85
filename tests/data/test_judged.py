from __future__ import annotations

from pathlib import Path

import pytest

from support.measures import measured, unreadable
from vlp.data.judged import read_findings, read_measures, write_findings, write_measures
from vlp.data.shards import ShardError
from vlp.records import Finding


def test_measures_come_back_as_they_were(tmp_path: Path) -> None:
    measures = [measured(1, split="test", notes=("alpha", "palette")), unreadable(2), *map(measured, range(3, 600))]
    assert write_measures(tmp_path, iter(measures)) == 599
    assert list(read_measures(tmp_path)) == measures


def test_findings_come_back_as_they_were(tmp_path: Path) -> None:
    findings = [
        Finding(record="r1", field="image", reason="truncated", detail="ends “early”\nreally"),
        Finding(record="r2", field="captions[0]", reason="html", action="dropped"),
    ]
    assert write_findings(tmp_path, findings) == 2
    assert list(read_findings(tmp_path)) == findings


def test_the_same_measures_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_measures(tmp_path / name, map(measured, range(300)))
    one, two = ((tmp_path / name / "measures.arrow").read_bytes() for name in ("one", "two"))
    assert one == two


def test_nothing_measured_is_an_empty_file(tmp_path: Path) -> None:
    assert write_measures(tmp_path, []) == 0
    assert list(read_measures(tmp_path)) == []


def test_missing_files_say_which_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"findings\.jsonl: no such file; run the validate stage first"):
        list(read_findings(tmp_path))
    with pytest.raises(ShardError, match=r"measures\.arrow: no readable measures .*run the validate stage first"):
        list(read_measures(tmp_path))


@pytest.mark.parametrize("line", ["{", '{"record": "r1"}', '{"record": "r1", "colour": "red"}', "[]"])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "findings.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(ShardError, match=r"findings\.jsonl:1: not a finding"):
        list(read_findings(tmp_path))
