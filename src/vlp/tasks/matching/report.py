"""What is reported of matching: figures with intervals, slices, and what the text or the picture alone would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp.data.loading import Examples
from vlp.data.slices import object_counts, word_counts
from vlp.evaluation import binary
from vlp.evaluation.calibration import calibration
from vlp.evaluation.intervals import Bootstrap
from vlp.evaluation.slices import by_slice
from vlp.tasks.base import Evaluation
from vlp.tasks.matching.pairs import Pairs


@dataclass(frozen=True, slots=True)
class Ways:
    """Probabilities [M] of the true captions, and of what ``Pairs`` holds against them."""

    true: np.ndarray
    easy: np.ndarray
    hard: np.ndarray

    @classmethod
    def of(cls, scores: Sequence[np.ndarray]) -> Ways:
        """Those of the true captions, of the hard ones and, where they are others, of the easy ones."""
        return cls(true=scores[0], hard=scores[1], easy=scores[-1])

    @property
    def both(self) -> np.ndarray:
        """[2 · M]: those of the true captions, then those that accuracy holds against them."""
        return np.concatenate([self.true, self.easy])


@dataclass(frozen=True, slots=True)
class Scored:
    """What was said with both before the model, without the picture (``blank``) and without the text (``mute``)."""

    seen: Ways
    blank: Ways
    mute: Ways


def evaluation(
    test: Examples, pairs: Pairs, scored: Scored, threshold: float, *, seed: int, resamples: int
) -> Evaluation:
    """Metrics, plots and predictions.

    Args:
        test: the split.
        pairs: its captions.
        scored: what was said of them.
        threshold: chosen on validation.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """
    targets, scores = np.repeat([1, 0], len(pairs.true)), scored.seen.both
    twice = Bootstrap(pairs.group * 2, seed=seed, resamples=resamples)
    once = Bootstrap(pairs.group, seed=seed, resamples=resamples)
    metrics: dict[str, Any] = dict(binary.report(targets, scores, threshold, twice))
    reliability = calibration(scores, targets, twice)
    metrics |= {"ece": reliability.error, "ece_ci95": list(reliability.interval)}
    outcomes = binary.hard_negative_outcomes(scored.seen.true, scored.seen.hard)
    metrics |= _mean("hard_negative_accuracy", outcomes, once)
    # As many statements are true as false: whoever says the same of all of them is right this often.
    metrics |= _mean("majority_accuracy", targets == int(targets.mean() >= 0.5), twice)
    for name, ways in (("text_only", scored.blank), ("image_only", scored.mute)):
        metrics |= _mean(f"{name}_accuracy", (ways.both >= threshold) == (targets > 0), twice)
        blind = binary.hard_negative_outcomes(ways.true, ways.hard)
        metrics |= _mean(f"{name}_hard_negative_accuracy", blind, once)
    cuts = {"kind": pairs.kind, "objects": object_counts(test, pairs.row), "words": word_counts(pairs.text)}
    for name, slices in cuts.items():
        metrics[f"hard_negative_accuracy_by_{name}"] = by_slice(slices, lambda rows: float(outcomes[rows].mean()))
    metrics |= {"threshold": threshold, "pairs": len(scores), "images": len(test)}
    metrics["minimal_edits"] = int(pairs.edited.sum())
    return Evaluation(
        metrics=metrics,
        plots={
            "roc": binary.roc_points(targets, scores),
            "precision_recall": binary.precision_recall_points(targets, scores),
            "confusion": binary.confusion_rows(targets, scores, threshold),
            "calibration": reliability.rows,
        },
        predictions=_predictions(test, pairs, scored.seen),
    )


def _mean(name: str, values: np.ndarray, bootstrap: Bootstrap) -> dict[str, Any]:
    return {name: float(values.mean()), f"{name}_ci95": list(bootstrap.ratio(values))}


def _predictions(test: Examples, pairs: Pairs, seen: Ways) -> list[dict[str, Any]]:
    ids = test.strings("id")
    rows, place = [], 0
    for number, row in enumerate(pairs.row.tolist()):
        place = place + 1 if number and pairs.row[number - 1] == row else 0
        rows.append(
            {
                "record": ids[row],
                "caption": place,
                "kind": pairs.kind[number],
                "score": float(seen.true[number]),
                "negative_score": float(seen.hard[number]),
            }
        )
    return rows
