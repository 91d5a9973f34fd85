"""What classification is worth: macro figures, and beside them what no training, no picture or no text give.

``accuracy`` is the share of records whose labels are all right and none missing (subset accuracy);
``hamming_accuracy`` the share of single decisions, one a record and label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp.evaluation import classes
from vlp.evaluation.calibration import calibration
from vlp.evaluation.intervals import Bootstrap
from vlp.evaluation.slices import by_slice
from vlp.tasks.base import Evaluation

OWN = "fine_tuned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """N records and K labels, and what was said of them.

    ``called`` and ``scores`` hold, by the name of the way, what it decided (bool [N, K]) and how sure it was ([N, K]):
    ``fine_tuned``, and whatever it is compared with. ``exclusive``: one label a record. ``train`` bool [n, K]: the
    labels of the train split, for the majority.
    """

    labels: Sequence[str]
    exclusive: bool
    target: np.ndarray
    train: np.ndarray
    called: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    ids: Sequence[str]
    groups: Sequence[str]
    objects: Sequence[str]

    def among(self, rows: np.ndarray) -> Measured:
        """The same of some of the records."""
        return Measured(
            labels=self.labels,
            exclusive=self.exclusive,
            target=self.target[rows],
            train=self.train,
            called={way: each[rows] for way, each in self.called.items()},
            scores={way: each[rows] for way, each in self.scores.items()},
            ids=[self.ids[row] for row in rows.tolist()],
            groups=[self.groups[row] for row in rows.tolist()],
            objects=[self.objects[row] for row in rows.tolist()],
        )


def measure(found: Measured, *, seed: int, resamples: int) -> Evaluation:
    """Metrics, plots and predictions.

    Args:
        found: the test split; where labels are exclusive, records without one of them are left out and counted.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """
    everything = len(found.target)
    if found.exclusive:
        found = found.among(np.flatnonzero(found.target.any(1)))
    bootstrap = Bootstrap(found.groups, seed=seed, resamples=resamples)
    reliability = _reliability(found, bootstrap)
    metrics: dict[str, Any] = _figures(found, OWN, bootstrap)
    metrics |= {"ece": reliability.error, "ece_ci95": list(reliability.interval)}
    metrics |= {way: _figures(found, way, bootstrap) for way in found.called if way != OWN}
    metrics["majority"] = _majority(found, bootstrap)
    right = (found.called[OWN] == found.target).all(1)
    sizes = [f"{count:02d}" for count in found.target.sum(1).tolist()]
    metrics |= {
        "by_label": classes.by_class(found.target, found.called[OWN], found.labels),
        "accuracy_by_label_count": by_slice(sizes, lambda rows: float(right[rows].mean())),
        "accuracy_by_objects": by_slice(found.objects, lambda rows: float(right[rows].mean())),
        "labels": len(found.labels),
        "images": len(found.target),
        "left_out": everything - len(found.target),
    }
    return Evaluation(
        metrics=metrics,
        plots={"calibration": reliability.rows, "labels": _by_label_rows(metrics["by_label"])},
        predictions=_predictions(found),
    )


def _figures(found: Measured, way: str, bootstrap: Bootstrap) -> dict[str, Any]:
    """Accuracy, macro precision, recall, F1 and ROC-AUC of one way to decide, each with its interval."""
    figures = _shares(found.called[way] == found.target, bootstrap)
    figures |= classes.macro(found.target, found.called[way], bootstrap)
    return figures | classes.macro_roc_auc(found.target, found.scores[way], bootstrap)


def _shares(same: np.ndarray, bootstrap: Bootstrap) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, each in (("accuracy", np.asarray(same.all(1))), ("hamming_accuracy", same.mean(1))):
        figures |= {name: float(each.mean()), f"{name}_ci95": list(bootstrap.ratio(each))}
    return figures


def _reliability(found: Measured, bootstrap: Bootstrap) -> Any:
    scores = found.scores[OWN]
    if found.exclusive:
        return calibration(scores.max(1), (found.called[OWN] & found.target).any(1), bootstrap)
    return calibration(scores, found.target, bootstrap)


def _majority(found: Measured, bootstrap: Bootstrap) -> dict[str, Any]:
    """Without looking: what most training records are; and, for F1, calling every label, which is its floor."""
    share = found.train.mean(0)
    said = share == share.max() if found.exclusive else share > 0.5
    if found.exclusive:
        said &= np.cumsum(said) == 1
    called = np.broadcast_to(said, found.target.shape)
    floors = _shares(called == found.target, bootstrap) | _macro_f1(found, called, bootstrap)
    if not found.exclusive:
        every = _macro_f1(found, np.ones_like(found.target), bootstrap)
        floors |= {f"every_label_{name}": value for name, value in every.items()}
    return floors


def _macro_f1(found: Measured, called: np.ndarray, bootstrap: Bootstrap) -> dict[str, Any]:
    every = classes.macro(found.target, called, bootstrap)
    return {name: every[name] for name in ("macro_f1", "macro_f1_ci95")}


def _by_label_rows(by_label: dict[str, dict[str, float | int]]) -> list[dict[str, Any]]:
    return [{"label": label, **entry} for label, entry in sorted(by_label.items())]


def _predictions(found: Measured) -> list[dict[str, Any]]:
    def chosen(row: np.ndarray) -> list[str]:
        return [found.labels[k] for k in np.flatnonzero(row).tolist()]

    return [
        {"record": record, "labels": chosen(target), "predicted": chosen(called), "score": float(scores.max())}
        for record, target, called, scores in zip(
            found.ids, found.target, found.called[OWN], found.scores[OWN], strict=True
        )
    ]
