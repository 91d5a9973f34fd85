from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta

import pytest

from support.requests import START, requests, write
from vlp.drift.records import DriftError, place, read

ROWS = requests(6, seed=1)


def test_requests_come_in_the_order_of_time_whatever_files_they_are_in(tmp_path):
    write(tmp_path / "vlp" / "data" / "data.2.log", ROWS[1::2])
    write(tmp_path / "vlp" / "data" / "data.1.log.2026-11-23", ROWS[::2])
    write(tmp_path / "vlp" / "schema" / "schema.1.log", ROWS)
    found = read(tmp_path)
    assert [row.request for row in found.requests] == [row.request for row in ROWS]
    assert not found.refused


def test_times_are_compared_in_one_zone(tmp_path):
    later = replace(ROWS[0], request="later", at="2026-11-23T10:00:00.500+01:00")
    write(tmp_path / "a.jsonl", [later, replace(ROWS[0], request="sooner", at="2026-11-23T08:30:00.000+00:00")])
    assert [row.request for row in read(tmp_path).requests] == ["sooner", "later"]
    assert place(later) == ("2026-11-23T09:00:00.500000+00:00", "later")


def test_a_request_counts_once_with_one_of_its_texts(tmp_path):
    texts = [replace(ROWS[place % 3], text=place // 3, request=f"r{place % 3}") for place in range(30)]
    write(tmp_path / "a.jsonl", texts)
    found = read(tmp_path).requests
    assert [row.request for row in found] == ["r0", "r1", "r2"]
    assert found == read(tmp_path).requests


def test_no_place_in_a_request_is_favoured(tmp_path):
    write(tmp_path / "a.jsonl", [replace(row, text=text) for row in requests(300, seed=1) for text in range(3)])
    drawn = [row.text for row in read(tmp_path).requests]
    assert all(80 <= drawn.count(text) <= 120 for text in range(3))


def test_only_what_stands_between_two_times_is_read(tmp_path):
    write(tmp_path / "a.jsonl", ROWS)
    found = read(tmp_path, after=place(ROWS[1]), before=START + timedelta(seconds=4))
    assert [row.request for row in found.requests] == [ROWS[2].request, ROWS[3].request]


def test_a_file_older_than_what_was_read_is_not_opened(tmp_path):
    old = write(tmp_path / "a.jsonl", ROWS)
    old.write_bytes(b"not a record\n")
    os.utime(old, (0, 0))
    assert read(tmp_path, after=place(ROWS[1])).refused == []


def test_other_tasks_are_not_compared(tmp_path):
    write(tmp_path / "a.jsonl", [replace(ROWS[0], task="vqa")])
    assert read(tmp_path).requests == []


def test_a_line_that_is_no_record_is_named_and_one_that_is_being_written_is_left(tmp_path):
    lines = [json.dumps(ROWS[0].to_row()), "{", "[]", "", json.dumps({"request": "r"}), '{"request": "being wri']
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = read(tmp_path)
    assert len(found.requests) == 1
    reasons = [line.removeprefix(f"{tmp_path}/") for line in found.refused]
    assert [reason[:9] for reason in reasons] == ["a.jsonl:2", "a.jsonl:3", "a.jsonl:5"]
    assert reasons[2] == "a.jsonl:5: text: missing"


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DriftError, match="no such file or folder of served records"):
        read(tmp_path / "nowhere")
