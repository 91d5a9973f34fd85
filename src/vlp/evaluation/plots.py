"""Files that ``dvc plots`` draws: the same rows give the same bytes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vlp.evaluation.binary import confusion_rows, precision_recall_points, roc_points
from vlp.files import atomic

Row = dict[str, float] | dict[str, str]


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write ``rows`` under ``columns``, floats to six decimals, atomically; no rows leave the header."""
    with atomic(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: round(item, 6) if isinstance(item, float) else item for name, item in row.items()})


def write_binary_plots(folder: Path, targets: np.ndarray, scores: np.ndarray, threshold: float) -> None:
    """Write ``roc.csv``, ``precision_recall.csv`` and ``confusion.csv`` into ``folder``.

    Args:
        folder: made where it is missing.
        targets: {0, 1} [N].
        scores: [N].
        threshold: what separates the two predictions in ``confusion.csv``.
    """
    write_csv(folder / "roc.csv", ["false_positive_rate", "true_positive_rate"], roc_points(targets, scores))
    write_csv(folder / "precision_recall.csv", ["recall", "precision"], precision_recall_points(targets, scores))
    write_csv(folder / "confusion.csv", ["actual", "predicted"], confusion_rows(targets, scores, threshold))
