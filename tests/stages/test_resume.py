"""Stages that are killed, and go on."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SECTIONS: dict[str, Any] = {
    "seed": 7,
    "ingest": {"source": "scenes", "root": "raw"},
    "sources": {"scenes": {"records": 600, "image_size": 64, "captions": 3, "faults": 0.1}},
    "image": {"size": 64},
    "text": {"max_words": 40, "max_tokens": 32, "vocabulary": 400, "scripts": ["latin"]},
    "clean": {"colour_matters": True},
    "validation": {
        "mode": "warn",
        "min_records": 10,
        "max_unreadable_share": 0.5,
        "max_reject_share": 0.5,
        "max_duplicate_share": 0.5,
        "min_captioned_share": 0.5,
        "min_side": 8,
        "caption_words": [2, 20],
        "min_script_share": 0.5,
        "max_repeated_caption_share": 0.95,
        "max_label_share": 0.9,
        "max_answer_share": 0.9,
        "min_contrast": 1.0,
    },
    "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
    "preprocess": {"engine": "local"},
    "engines": {"local": {}},
}
# Small shards; and slow work, so that a kill finds some shards finished and others not.
STAGE = """
import sys, time
from vlp.data import parallel, prepared_rows, quality, shards
from vlp.data.sources import scenes
shards.ROWS_PER_SHARD, shards.ROWS_PER_BATCH = 32, 16
parallel.TOO_FEW_FOR_PROCESSES = 10**6  # all in this process, where work is slowed and counted
started, pause = [0], float(sys.argv[2])
def slowed(function):
    def slow(*args, **options):
        started[0] += 1
        time.sleep(pause)
        return function(*args, **options)
    return slow
scenes.record, quality.measure = slowed(scenes.record), slowed(quality.measure)
prepared_rows.prepare_record = slowed(prepared_rows.prepare_record)
from vlp import plugins
stage = plugins.find("vlp.stages", sys.argv[1])
stage.main()
print(started[0])
"""
OUT = {"ingest": "ingested", "validate": "validated", "preprocess": "prepared"}


def start(folder: Path, stage: str, pause: float = 0.0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STAGE, stage, str(pause)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(folder: Path, stage: str) -> int:
    """Run a stage to its end; returns how many records were worked on."""
    process = start(folder, stage)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return int(out)


def kill_half_way(folder: Path, stage: str) -> None:
    unfinished = folder / "data" / f".{OUT[stage]}.partial"
    process = start(folder, stage, pause=0.01)
    while len(list(unfinished.glob("*.arrow"))) < 4:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def project(folder: Path) -> Path:
    (folder / "raw").mkdir(parents=True)
    (folder / "params.yaml").write_text(json.dumps(SECTIONS), encoding="utf-8")  # JSON is YAML
    return folder


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_a_killed_run_goes_on_at_its_last_finished_shard_and_writes_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = project(tmp_path / "whole"), project(tmp_path / "killed")
    for stage in OUT:
        in_one = finish(whole, stage)
        kill_half_way(killed, stage)
        assert not (killed / "data" / OUT[stage]).exists()
        assert finish(killed, stage) <= in_one - 4 * 32 + 1, stage
    assert digests(killed) == digests(whole)
