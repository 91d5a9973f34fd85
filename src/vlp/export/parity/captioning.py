"""Captioning: the caption that the model writes of a record, token by token through both.

Every logit of every step is compared along the model's own caption; the metric is the share of captions that a side,
left alone, writes word for word as the model does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vlp.data.loading import Examples
from vlp.export.parity.base import Comparison, spread
from vlp.runtime.predictor import Predictor

if TYPE_CHECKING:
    from vlp.tasks.captioning import Task


@dataclass(frozen=True, slots=True)
class Request:
    """One record: its row, and the tokens that the model writes of it, the last one included."""

    row: int
    ids: list[int]


def comparison(task: Task, predictor: Predictor, test: Examples, samples: int) -> Comparison:
    """``samples`` test records.

    Raises:
        ValueError: the test split is empty.
    """
    if not len(test):
        raise ValueError(f"{test.folder}: the test split is empty; there is nothing to check the export on")
    answers = predictor.task("captioning")
    requests = [Request(row, _greedy(task, test, row)) for row in spread(len(test), samples)]

    @torch.inference_mode()
    def by_torch(request: Request) -> np.ndarray:
        grid = task.model.image_encoder(test.images([request.row])).tokens
        logits, cache = task.decoder.begin(grid, torch.tensor([[task.begin_id]]))
        found = [logits]
        for token in request.ids[:-1]:
            logits, cache = task.decoder.step(torch.tensor([[token]]), cache)
            found.append(logits)
        return _allowed(torch.cat(found).numpy(), task.never)

    def by_runtime(request: Request) -> np.ndarray:
        pixels = test.images([request.row])[0].numpy()
        return _allowed(answers.write(pixels, request.ids).logits, task.never)

    def same_caption(scores: np.ndarray) -> float:
        rows = scores.reshape(-1, task.prepared.vocabulary_size - len(task.never)).argmax(-1)
        wanted = [_allowed_place(token, task.never) for request in requests for token in request.ids]
        ends = np.cumsum([len(request.ids) for request in requests])
        return float(np.mean([part.all() for part in np.split(rows == np.array(wanted), ends[:-1])]))

    return Comparison(requests=requests, by_torch=by_torch, by_runtime=by_runtime, metric=same_caption)


@torch.inference_mode()
def _greedy(task: Task, test: Examples, row: int) -> list[int]:
    grid = task.model.image_encoder(test.images([row])).tokens
    return [int(token) for token in task.generate(grid)[0]]


def _allowed(logits: np.ndarray, never: list[int]) -> np.ndarray:
    """The logits [L, V] of the tokens that a caption can have, as one row of float64."""
    return np.delete(logits.astype(np.float64), never, axis=1).ravel()


def _allowed_place(token: int, never: list[int]) -> int:
    return token - sum(other < token for other in never)
