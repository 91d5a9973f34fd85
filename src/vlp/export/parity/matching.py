"""Matching: the statements of a record, true and edited, put to both as one request about one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vlp.data.loading import Examples, TokenIds, pad
from vlp.evaluation import binary
from vlp.export.parity.base import Comparison, spread
from vlp.runtime.predictor import Predictor

if TYPE_CHECKING:
    from vlp.tasks.matching import Task


@dataclass(frozen=True, slots=True)
class Request:
    """One record: its row and its statements, as clean text for one side and as token ids for the other."""

    row: int
    texts: list[str]
    ids: list[TokenIds]
    targets: list[int]


def comparison(task: Task, predictor: Predictor, test: Examples, samples: int) -> Comparison:
    """``samples`` test records; the metric is accuracy at the task's threshold.

    Records of data without edited statements are asked about a caption of another record instead.

    Raises:
        ValueError: the test split has no caption.
    """
    known = [row for row in range(len(test)) if test.ids("captions", "ids", row)]
    if not known:
        raise ValueError(f"{test.folder}: the test split has no caption; there is nothing to check the export on")
    rows = [known[place] for place in spread(len(known), samples)]
    requests = [_request(test, row, rows[(place + 1) % len(rows)]) for place, row in enumerate(rows)]
    targets = np.concatenate([request.targets for request in requests])

    @torch.inference_mode()
    def by_torch(request: Request) -> np.ndarray:
        features = task.model.encode_image(test.images([request.row]))
        texts = pad(request.ids, [0] * len(request.ids), task.prepared.pad_id)
        logits = task.logits(features.index(texts.image_index), texts.input_ids, texts.attention_mask)
        return np.asarray(logits.double().sigmoid().numpy())

    def by_runtime(request: Request) -> np.ndarray:
        pixels = test.images([request.row])[0].numpy()
        return np.array([answer.score for answer in predictor.task("matching").match_prepared(pixels, request.texts)])

    def accuracy(scores: np.ndarray) -> float:
        found = binary.report(targets, scores, task.decision["threshold"])["accuracy"]
        assert isinstance(found, float)
        return found

    return Comparison(requests=requests, by_torch=by_torch, by_runtime=by_runtime, metric=accuracy)


def _request(test: Examples, row: int, other: int) -> Request:
    request = Request(row, [], [], [])
    captions = test.values("captions", row)
    true, edited = test.ids("captions", "ids", row), test.ids("captions", "negative_ids", row)
    for caption, ids, edit in zip(captions, true, edited, strict=True):
        _add(request, caption["text"], ids, 1)
        if edit is not None:
            _add(request, caption["negative"], edit, 0)
    if 0 not in request.targets and other != row:
        _add(request, test.values("captions", other)[0]["text"], test.ids("captions", "ids", other)[0], 0)
    return request


def _add(request: Request, text: object, ids: TokenIds | None, target: int) -> None:
    assert isinstance(text, str)
    assert ids is not None
    request.texts.append(text)
    request.ids.append(ids)
    request.targets.append(target)
