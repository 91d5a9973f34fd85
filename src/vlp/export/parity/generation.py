"""Generation: one prompt a record, drawn by both from the same noise; scores are the levels of the pixels, 0 to 1.

One candidate each, and before levels are rounded to bytes: a difference that no eye could see may tip a rounding or the
choice between two candidates that are as good as each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from vlp.data.loading import Examples
from vlp.export.parity.base import Comparison
from vlp.runtime import sampling
from vlp.runtime.predictor import Predictor
from vlp.tasks.generation import report

if TYPE_CHECKING:
    from vlp.tasks.generation import Task

PROMPTS = 16
"""At most so many are drawn: a picture costs a hundred times what another task's answer does."""


def comparison(task: Task, predictor: Predictor, test: Examples, samples: int) -> Comparison:
    """At most ``PROMPTS`` captions of the test split; the metric is what the matching head says of the pictures.

    Raises:
        ValueError: the test split has no caption.
    """
    asked = report.prompts(test, min(samples, PROMPTS))
    numbers = list(range(len(asked)))

    how = {key: task.decision[key] for key in ("guidance", "steps")}

    def by_torch(number: int) -> np.ndarray:
        return _levels(task.flow([asked[number].ids], [number], candidates=1, **how))

    def by_runtime(number: int) -> np.ndarray:
        return _levels(predictor.task("generation").flow_prepared(asked[number].text, number, 1))

    @torch.inference_mode()
    def matching_score(scores: np.ndarray) -> float:
        size = task.prepared.image_size
        points = (2 * scores.reshape(-1, 3, size, size) - 1).astype(np.float32)
        return task.matching_score(torch.from_numpy(sampling.pixels(points)), [prompt.ids for prompt in asked])

    return Comparison(requests=numbers, by_torch=by_torch, by_runtime=by_runtime, metric=matching_score)


def _levels(points: np.ndarray) -> np.ndarray:
    """Levels before they are rounded to bytes, float64 [S · S · 3]."""
    return np.asarray((np.clip(points, -1, 1).astype(np.float64).ravel() + 1) / 2)
