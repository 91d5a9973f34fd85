"""Segmentation: one region of each record put to both; scores are the probabilities of its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vlp.data.loading import Examples, TokenIds, pad
from vlp.evaluation import masks
from vlp.export.parity.base import Comparison, spread
from vlp.runtime.predictor import Predictor

if TYPE_CHECKING:
    from vlp.tasks.segmentation import Task


@dataclass(frozen=True, slots=True)
class Request:
    """One record's row, the expression of its first region as clean text and as token ids, and that region's mask."""

    row: int
    text: str
    ids: TokenIds
    target: np.ndarray


def comparison(task: Task, predictor: Predictor, test: Examples, samples: int) -> Comparison:
    """``samples`` test records; the metric is mIoU at the task's threshold.

    Raises:
        ValueError: the test split has no region.
    """
    known = np.flatnonzero(test.lengths("regions")).tolist()
    if not known:
        raise ValueError(f"{test.folder}: the test split has no entry in `regions` to check the export on")
    requests = [_request(test, known[place]) for place in spread(len(known), samples)]
    targets = np.stack([request.target for request in requests])

    @torch.inference_mode()
    def by_torch(request: Request) -> np.ndarray:
        image, embedded = task.embed(test.images([request.row]))
        text = pad([request.ids], [0], task.prepared.pad_id)
        logits, _ = task.decoded(image, embedded, text.input_ids, text.attention_mask)
        return np.asarray(logits.double().sigmoid().numpy().ravel())

    def by_runtime(request: Request) -> np.ndarray:
        pixels = test.images([request.row])[0].numpy()
        found = predictor.task("segmentation").segment_prepared(pixels, request.text)
        return np.asarray(found.probability.ravel(), np.float64)

    def miou(scores: np.ndarray) -> float:
        return float(masks.iou(scores.reshape(targets.shape) >= task.decision["threshold"], targets).mean())

    return Comparison(requests=requests, by_torch=by_torch, by_runtime=by_runtime, metric=miou)


def _request(test: Examples, row: int) -> Request:
    ids = test.ids("regions", "ids", row)[0]
    assert ids is not None
    return Request(row, str(test.values("regions", row)[0]["expression"]), ids, test.masks(row)[0])
