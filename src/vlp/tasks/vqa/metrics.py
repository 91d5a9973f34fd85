"""What answering is worth: accuracy by type, and beside it what could be had without looking, or without reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from vlp.data.questions import Questions
from vlp.data.slices import word_counts
from vlp.evaluation import classes
from vlp.evaluation.calibration import calibration
from vlp.evaluation.intervals import Bootstrap
from vlp.evaluation.slices import by_slice, largest, more, rows_by_slice
from vlp.tasks.base import Evaluation
from vlp.tasks.vqa.consensus import LEAST, consensus
from vlp.tasks.vqa.priors import prior_answers


def measure(
    *,
    asked: Questions,
    train: Questions,
    answers: Sequence[str],
    probabilities: np.ndarray,
    blank: np.ndarray,
    mute: np.ndarray,
    ids: Sequence[str],
    groups: Sequence[str],
    objects: Sequence[str],
    seed: int,
    resamples: int,
) -> Evaluation:
    """Metrics, plots and predictions of M questions.

    Args:
        asked: the questions of the test split.
        train: those of the train split, for the priors.
        answers: the vocabulary, K answers.
        probabilities: [M, K].
        blank: what the model answers without the pictures, int [M].
        mute: what it answers without the questions, int [M].
        ids: each record's id.
        groups: each record's group: what is resampled.
        objects: how many things each record's picture shows.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """
    answered = probabilities.argmax(1)
    bootstrap = Bootstrap([groups[row] for row in asked.row.tolist()], seed=seed, resamples=resamples)
    said = {
        "accuracy": answered,
        "blank_image_accuracy": blank,
        "question_prior_accuracy": prior_answers(train, asked),
        "image_only_accuracy": mute,
        "majority_accuracy": np.full(len(asked), _majority(train)),
    }
    right = {name: each == asked.code for name, each in said.items()}
    metrics: dict[str, Any] = {name: float(each.mean()) for name, each in right.items()}
    metrics |= {f"{name}_ci95": list(bootstrap.ratio(each)) for name, each in right.items()}
    # Two ways to answer without looking; the better of them is what looking has to beat.
    strongest = max(("blank_image_accuracy", "question_prior_accuracy"), key=lambda name: metrics[name])
    metrics["question_only_accuracy"] = metrics[strongest]
    metrics["question_only_accuracy_ci95"] = metrics[f"{strongest}_ci95"]
    metrics |= _consensus(asked, answers, {"": answered, "question_only_": said[strongest]}, groups, seed, resamples)
    target = classes.one_hot(asked.code, len(answers))
    metrics |= classes.macro(target, classes.one_hot(answered, len(answers)), bootstrap)
    metrics |= classes.macro_roc_auc(target, probabilities, bootstrap)
    reliability = calibration(probabilities.max(1), right["accuracy"], bootstrap)
    metrics |= {"ece": reliability.error, "ece_ci95": list(reliability.interval)}
    metrics |= _sliced(asked, right, groups, seed, resamples)
    shown = [objects[row] for row in asked.row.tolist()]
    metrics["accuracy_by_objects"] = by_slice(shown, lambda rows: float(right["accuracy"][rows].mean()))
    metrics |= {
        "questions": len(asked),
        "images": len(set(asked.row.tolist())),
        "answers": len(answers),
        "unknown_answers": int((asked.code < 0).sum()),
    }
    return Evaluation(
        metrics=metrics,
        plots={
            "calibration": reliability.rows,
            "confusion": _confusion(asked, answers, answered),
            "types": [
                {"type": kind, "accuracy": entry["value"], "size": entry["size"]}
                for kind, entry in metrics["accuracy_by_type"].items()
            ],
        },
        predictions=_predictions(asked, answers, probabilities, ids),
    )


def _majority(train: Questions) -> int:
    known = train.code[train.code >= 0]
    return int(np.bincount(known).argmax()) if len(known) else 0


def _consensus(
    asked: Questions,
    answers: Sequence[str],
    said: dict[str, np.ndarray],
    groups: Sequence[str],
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """VQA accuracy of those questions that enough people answered; nothing where no question is one of them."""
    rows = [row for row, given in enumerate(asked.given) if len(given) >= LEAST]
    if not rows:
        return {}
    bootstrap = Bootstrap([groups[asked.row[row]] for row in rows], seed=seed, resamples=resamples)
    found: dict[str, Any] = {"consensus_questions": len(rows)}
    for name, chosen in said.items():
        worth = np.array([consensus(answers[chosen[row]], asked.given[row]) for row in rows])
        found[f"{name}consensus_accuracy"] = float(worth.mean())
        found[f"{name}consensus_accuracy_ci95"] = list(bootstrap.ratio(worth))
        if not name:
            kinds = rows_by_slice([asked.kind[row] for row in rows])
            found["consensus_accuracy_by_type"] = {
                kind: {"value": float(worth[own].mean()), "size": len(own)} for kind, own in kinds.items()
            }
    return found


def _sliced(
    asked: Questions, right: dict[str, np.ndarray], groups: Sequence[str], seed: int, resamples: int
) -> dict[str, Any]:
    """Accuracy by type (with its interval, and the question prior beside it), by answer and by length of question."""

    def accuracy(rows: np.ndarray) -> float:
        return float(right["accuracy"][rows].mean())

    by_type: dict[str, Any] = {}
    for name, rows in rows_by_slice(asked.kind).items():
        own = Bootstrap([groups[asked.row[row]] for row in rows.tolist()], seed=seed, resamples=resamples)
        by_type[name] = {
            "value": accuracy(rows),
            "size": len(rows),
            "ci95": list(own.ratio(right["accuracy"][rows])),
            "question_prior": float(right["question_prior_accuracy"][rows].mean()),
        }
    return {
        "accuracy_by_type": by_type,
        "accuracy_by_answer": by_slice(asked.answer, accuracy),
        "accuracy_by_words": by_slice(word_counts(asked.text), accuracy),
    }


def _confusion(asked: Questions, answers: Sequence[str], answered: np.ndarray) -> list[dict[str, str]]:
    """One row a question; of many answers those that are seldom right are one, for the table is as wide as high."""
    counts = Counter(asked.answer)
    names = np.array(sorted({*counts, *(answers[number] for number in set(answered.tolist()))}), dtype=object)
    own, rest = largest(np.arange(len(names)), np.array([counts[name] for name in names]))
    shown = {str(name): str(name) for name in names[own]} | {str(name): more(len(rest)) for name in names[rest]}
    return [
        {"actual": shown[actual], "predicted": shown[answers[number]]}
        for actual, number in zip(asked.answer, answered.tolist(), strict=True)
    ]


def _predictions(
    asked: Questions, answers: Sequence[str], probabilities: np.ndarray, ids: Sequence[str]
) -> list[dict[str, Any]]:
    found = zip(
        asked.row.tolist(),
        asked.kind,
        asked.text,
        asked.answer,
        probabilities.argmax(1).tolist(),
        probabilities.max(1).tolist(),
        strict=True,
    )
    return [
        {
            "record": ids[row],
            "type": kind,
            "question": text,
            "answer": answer,
            "predicted": answers[said],
            "score": score,
        }
        for row, kind, text, answer, said, score in found
    ]
