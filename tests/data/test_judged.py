from __future__ import annotations

from pathlib import Path

import pytest

from support.measures import measured, unreadable
from vlp.data.judged import Measures, read_findings, write_findings, write_measures
from vlp.data.shards import ShardError
from vlp.records import Finding


def test_measures_come_back_as_they_were(tmp_path: Path) -> None:
    measures = [measured(1, split="test", notes=("alpha", "palette")), unreadable(2), *map(measured, range(3, 600))]
    assert write_measures(tmp_path, iter(measures)) == 599
    assert list(Measures(tmp_path)) == measures


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
    one, two = ((tmp_path / name / "measures-00000.arrow").read_bytes() for name in ("one", "two"))
    assert one == two


def test_one_measure_of_all_records_is_a_column(tmp_path: Path) -> None:
    write_measures(tmp_path, map(measured, range(3)))
    assert Measures(tmp_path).column("id").to_pylist() == ["r0", "r1", "r2"]
    assert len(Measures(tmp_path)) == 3


def test_nothing_measured_is_an_empty_file(tmp_path: Path) -> None:
    assert write_measures(tmp_path, []) == 0
    assert list(Measures(tmp_path)) == []


def test_missing_files_say_which_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"findings\.jsonl: no such file; run the validate stage first"):
        list(read_findings(tmp_path))
    with pytest.raises(ShardError, match=r"no shard measures-\*\.arrow; run the validate stage first"):
        list(Measures(tmp_path))


@pytest.mark.parametrize("line", ["{", '{"record": "r1"}', '{"record": "r1", "colour": "red"}', "[]"])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "findings.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(ShardError, match=r"findings\.jsonl:1: not a finding"):
        list(read_findings(tmp_path))
