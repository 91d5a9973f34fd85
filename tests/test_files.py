from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vlp.files import atomic, lines, write_csv, write_json, write_jsonl


def test_a_file_appears_whole_with_its_parents(tmp_path):
    out = tmp_path / "a" / "b" / "out.txt"
    with atomic(out) as partial:
        partial.write_text("whole", encoding="utf-8")
        assert not out.exists()
    assert out.read_text(encoding="utf-8") == "whole"
    assert [path.name for path in out.parent.iterdir()] == ["out.txt"]


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there_before(tmp_path, folder, error):
    out = tmp_path / "out"
    with atomic(out, folder=folder) as partial:
        (partial / "a" if folder else partial).write_text("before", encoding="utf-8")
    with pytest.raises(error), atomic(out, folder=folder) as partial:
        (partial / "a" if folder else partial).write_text("half", encoding="utf-8")
        raise error
    assert (out / "a" if folder else out).read_text(encoding="utf-8") == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_replaces_the_one_before_whole(tmp_path):
    for name in ("first", "second"):
        with atomic(tmp_path / "out", folder=True) as partial:
            (partial / name).touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["second"]


@pytest.mark.parametrize("folder", [False, True])
def test_a_killed_process_leaves_no_out_and_the_next_one_finishes(tmp_path, folder):
    target = "partial / 'a'" if folder else "partial"
    code = f"""
import os, signal
from pathlib import Path
from vlp.files import atomic
with atomic({str(tmp_path / "out")!r}, folder={folder}) as partial:
    ({target}).write_text('half')
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == [".out.partial"]
    with atomic(tmp_path / "out") as partial:
        partial.write_text("whole", encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_json_reads_well_in_a_diff_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "m.json", {"b": 1 / 3, "a": (1, "é"), "c": {2: math.nan, 1: math.inf}})
    text = (tmp_path / "m.json").read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert "é" in text
    assert list(json.loads(text).items()) == [("a", [1, "é"]), ("b", 0.333333), ("c", {"1": None, "2": None})]


def test_json_of_a_value_it_cannot_hold_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "m.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "m.json", {"a": object()})
    assert (tmp_path / "m.json").read_text(encoding="utf-8") == "1\n"


def test_jsonl_has_one_sorted_object_a_line_and_is_counted(tmp_path):
    assert write_jsonl(tmp_path / "r.jsonl", ({"b": index, "a": "x\ny"} for index in range(2))) == 2
    lines = (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines == ['{"a": "x\\ny", "b": 0}', '{"a": "x\\ny", "b": 1}']


def test_no_rows_are_an_empty_file(tmp_path):
    assert write_jsonl(tmp_path / "r.jsonl", []) == 0
    assert (tmp_path / "r.jsonl").read_bytes() == b""


def test_csv_has_the_columns_of_all_rows_in_order_of_appearance(tmp_path):
    write_csv(tmp_path / "c.csv", [{"step": 1, "loss": 2 / 3}, {"step": 2, "loss": 0.5, "note": "a,b"}])
    assert (tmp_path / "c.csv").read_text(encoding="utf-8") == 'step,loss,note\n1,0.666667,\n2,0.5,"a,b"\n'


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    rows = [{"id": "a\u2028b\u0085c\x0b"}, {"id": "d"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert [json.loads(line) for _, line in lines(tmp_path / "rows.jsonl")] == rows
    (tmp_path / "by hand").write_bytes(b"\xef\xbb\xbfone\r\n\r\ntwo")
    assert list(lines(tmp_path / "by hand")) == [(1, "one"), (3, "two")]
    assert list(lines(tmp_path / "by hand", blank=True)) == [(1, "one"), (2, ""), (3, "two")]
