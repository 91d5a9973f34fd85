"""Classification: a record's picture, its first caption, or both, put to both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from vlp.data.loading import Examples, pad
from vlp.evaluation import classes
from vlp.export.parity.base import Comparison, spread
from vlp.runtime.predictor import Predictor

if TYPE_CHECKING:
    from vlp.tasks.classification import Task


def comparison(task: Task, predictor: Predictor, test: Examples, samples: int) -> Comparison:
    """``samples`` test records that have a label; scores are all labels' probabilities, the metric is macro F1.

    Raises:
        ValueError: no test record has a label that the task knows.
    """
    target = task.table(test)
    labelled = np.flatnonzero(target.any(1)).tolist()
    rows = [labelled[place] for place in spread(len(labelled), samples)]

    @torch.inference_mode()
    def by_torch(row: int) -> np.ndarray:
        text = None
        if task.reads:
            padded = pad([task.captions(test, row)[0]], [0], task.prepared.pad_id)
            text = (padded.input_ids, padded.attention_mask)
        logits = task.logits(test.images([row]) if task.sees else None, text)
        return task.probabilities(logits.numpy()).ravel()

    def by_runtime(row: int) -> np.ndarray:
        pixels = test.images([row])[0].numpy() if task.sees else None
        text = str(test.values("captions", row)[0]["text"]) if task.reads else None
        answer = predictor.task("classification").classify_prepared(pixels, text)
        return np.array([answer.scores[label] for label in task.labels])

    def macro_f1(scores: np.ndarray) -> float:
        called = task.called(scores.reshape(len(rows), -1))
        figure = classes.macro(target[rows], called)["macro_f1"]
        assert isinstance(figure, float)
        return figure

    return Comparison(requests=rows, by_torch=by_torch, by_runtime=by_runtime, metric=macro_f1)
