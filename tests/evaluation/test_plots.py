"""Plot files: readable, and the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlp.evaluation.plots import write_binary_plots

TARGETS = np.array([1, 1, 0, 0])
SCORES = np.array([0.9, 0.4, 0.6, 0.1])


def test_the_worked_case_reads_as_expected(tmp_path: Path) -> None:
    write_binary_plots(tmp_path, TARGETS, SCORES, threshold=0.5)
    assert (tmp_path / "roc.csv").read_text().splitlines()[:3] == [
        "false_positive_rate,true_positive_rate",
        "0.0,0.0",
        "0.0,0.5",
    ]
    assert (tmp_path / "confusion.csv").read_text().splitlines() == [
        "actual,predicted",
        "true,true",
        "true,false",
        "false,true",
        "false,false",
    ]
    assert (tmp_path / "precision_recall.csv").read_text().splitlines()[-1] == "1.0,0.5"


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_binary_plots(tmp_path / folder, TARGETS, SCORES, threshold=0.5)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_one_class_leaves_an_empty_curve_with_its_header(tmp_path: Path) -> None:
    write_binary_plots(tmp_path, np.array([1, 1]), np.array([0.1, 0.2]), threshold=0.5)
    assert (tmp_path / "roc.csv").read_text() == "false_positive_rate,true_positive_rate\n"
