"""The figures on docs/results.md are those of the files that the stages and the benchmarks wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
SCRIPT = PROJECT / "scripts" / "results.py"


def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.house
def test_the_page_shows_what_was_measured() -> None:
    found = run(PROJECT, "--check")
    assert found.returncode == 0, found.stderr


def test_a_block_is_written_from_its_file_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "results.md"
    page.write_text("before\n<!-- figures: m.json -->\nold\n<!-- end -->\nafter\n")
    figures = '{"f1": 0.91234, "f1_ci95": [0.9, 0.92], "images": 2018, "by_kind": {"count": {"size": 7, "value": 0.5}}}'
    (tmp_path / "m.json").write_text(figures)
    assert run(tmp_path, "--check").returncode == 1
    assert run(tmp_path).returncode == 0
    text = page.read_text()
    assert "| `f1` | 0.912 | 0.900–0.920 |" in text
    assert "| `images` | 2,018 |  |" in text
    assert "| `by_kind: count` (7) | 0.500 |  |" in text
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert run(tmp_path, "--check").returncode == 0
    (tmp_path / "m.json").unlink()
    assert run(tmp_path, "--check").returncode == 1
    without = run(tmp_path)
    assert without.returncode == 0 and "m.json, which is not there" in without.stderr
    assert page.read_text() == "before\n<!-- figures: m.json -->\n\n`m.json` is not there.\n\n<!-- end -->\nafter\n"


def test_what_other_data_and_fewer_tasks_do_not_give_is_said(tmp_path: Path) -> None:
    for folder in ("docs", "metrics"):
        (tmp_path / folder).mkdir()
    page = tmp_path / "docs" / "results.md"
    page.write_text("<!-- aims -->\n<!-- end -->\n<!-- figures: metrics/matching.json -->\n<!-- end -->\n")
    figures = '{"roc_auc": 0.97, "roc_auc_ci95": [null, null], "by_kind": {"count": {"size": 1, "value": null}}}'
    (tmp_path / "metrics" / "matching.json").write_text(figures)
    (tmp_path / "metrics" / "captioning.json").write_text('{"cider": 0.5}')
    found = run(tmp_path)
    assert found.returncode == 0, found.stderr
    text = page.read_text()
    assert "| matching | `roc_auc` | 0.970 |  | 0.96 | reached |" in text
    for task, name, aim in (("captioning", "faithful_share", "0.90"), ("vqa", "accuracy", "0.92")):
        assert f"| {task} | `{name}` |  |  | {aim} | **not measured** |" in text
    assert "| `roc_auc` | 0.970 |  |" in text
    assert "| `by_kind: count` (1) |  |  |" in text


def test_of_many_slices_the_lowest_are_shown(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "results.md"
    page.write_text("<!-- figures: m.json -->\n<!-- end -->\n")
    slices = {f"label{number:02d}": {"f1": 1 - number / 100, "size": 9} for number in range(20)}
    (tmp_path / "m.json").write_text(json.dumps({"by_label": slices}))
    assert run(tmp_path).returncode == 0
    shown = [line.split("|")[1].strip() for line in page.read_text().splitlines() if "f1" in line]
    assert shown == [f"`by_label, lowest of 20: label{number}: f1`" for number in (19, 18, 17)]


def test_rows_of_transfer_stand_by_task_and_labels_beside_what_it_started_from(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    page = tmp_path / "docs" / "results.md"
    page.write_text("<!-- transfer: scenes -->\n<!-- end -->\n")
    rows = [
        {
            "data": "scenes",
            "task": task,
            "way": way,
            "labels": labels,
            "figure": "f1",
            "value": value,
            "ci95": [0.25, 0.75],
        }
        for task, labels, way, value in (
            ("vqa", 1.0, "scratch", 0.5),
            ("vqa", 1.0, "lora", 0.625),
            ("matching", 0.1, "lora", 0.375),
            ("vqa", 0.1, "lora", 0.75),
        )
    ]
    rows.append({**rows[0], "data": "other"})
    (tmp_path / "benchmarks" / "results" / "transfer.json").write_text(json.dumps({"rows": rows}))
    assert run(tmp_path).returncode == 0
    shown = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    assert shown == [
        "| task | figure | labels | scratch | lora |",
        "| vqa | `f1` | 10% |  | 0.750 (0.250–0.750) |",
        "| vqa | `f1` | 100% | 0.500 (0.250–0.750) | 0.625 (0.250–0.750) |",
        "| matching | `f1` | 10% |  | 0.375 (0.250–0.750) |",
    ]


def test_a_benchmark_stands_beside_its_aims(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text("<!-- benchmark: serving_latency -->\n<!-- end -->\n")
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    measured = {
        "machine": {"processor": "A processor", "cores": 2},
        "command": "python benchmarks/serving_latency.py",
        "at": "2026-11-25T20:00:00+00:00",
        "samples": {"ours": [1.0, 2.0]},
        "ratios": {"batch1_vs_torch_eager": 6.5, "batch1_vs_onnxruntime": 2.5},
        "cold_start_s": 2.5,
    }
    (tmp_path / "benchmarks" / "results" / "serving_latency.json").write_text(json.dumps(measured))
    assert run(tmp_path).returncode == 0
    text = (tmp_path / "docs" / "results.md").read_text()
    assert "`python benchmarks/serving_latency.py`, 2026-11-25, A processor, 2 cores:" in text
    assert "| `ratios.batch1_vs_torch_eager` | 6.500 | >= 6 | reached |" in text
    assert "| `ratios.batch1_vs_onnxruntime` | 2.500 | >= 3 | **not reached** |" in text
    assert "| `cold_start_s` | 2.500 | <= 3 | reached |" in text
    assert "samples" not in text


def test_a_preset_stands_beside_its_floors_and_its_aim(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text("<!-- preset: easy-vqa -->\n<!-- end -->\n")
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    vqa = {"accuracy": 0.9951, "accuracy_ci95": [0.993, 0.997], "question_only_accuracy": 0.67}
    measured = {
        "machine": {"processor": "A processor", "cores": 2},
        "command": "python benchmarks/real_input.py easy-vqa easy-vqa",
        "commit": "0123456789",
        "at": "2026-11-25T20:00:00+00:00",
        "seconds": 200,
        "metrics": {"vqa": {**vqa, "image_only_accuracy": 0.4, "majority_accuracy": 0.37}},
    }
    (tmp_path / "benchmarks" / "results" / "easy-vqa.json").write_text(json.dumps(measured))
    assert run(tmp_path).returncode == 0
    text = (tmp_path / "docs" / "results.md").read_text()
    assert "A processor, 2 cores, commit 0123456; all stages: 3 min 20 s:" in text
    assert "| vqa | `accuracy` | 0.995 | 0.993–0.997 | `question_only_accuracy` 0.670; " in text
    assert "| 0.99 | reached |" in text
