"""Visual question answering: the questions of a record, put to both as one request about one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vlp.data.loading import Examples, TokenIds, pad
from vlp.evaluation.calibration import softmax
from vlp.export.parity.base import Comparison, spread
from vlp.runtime.predictor import Predictor

if TYPE_CHECKING:
    from vlp.tasks.vqa import Task


@dataclass(frozen=True, slots=True)
class Request:
    """One record: its row and its questions, as clean text for one side and as token ids for the other."""

    row: int
    texts: list[str]
    ids: list[TokenIds]
    codes: list[int]


def comparison(task: Task, predictor: Predictor, test: Examples, samples: int) -> Comparison:
    """``samples`` test records with questions; scores are all answers' probabilities, the metric is accuracy.

    Raises:
        ValueError: the test split has no question.
    """
    asked = task.asked(test)
    known = sorted(set(asked.row.tolist()))
    requests = []
    for row in (known[place] for place in spread(len(known), samples)):
        mine = slice(asked.start[row], asked.start[row + 1])
        ids = [each for each in test.ids("questions", "ids", row) if each is not None]
        requests.append(Request(row, asked.text[mine], ids, asked.code[mine].tolist()))
    codes = np.concatenate([request.codes for request in requests])

    @torch.inference_mode()
    def by_torch(request: Request) -> np.ndarray:
        features = task.model.encode_image(test.images([request.row]))
        texts = pad(request.ids, [0] * len(request.ids), task.prepared.pad_id)
        logits = task.logits(features.of(texts), texts.input_ids, texts.attention_mask)
        return softmax(logits.numpy() / task.decision["temperature"]).ravel()

    def by_runtime(request: Request) -> np.ndarray:
        pixels = test.images([request.row])[0].numpy()
        answers = predictor.task("vqa").ask_prepared(pixels, request.texts)
        return np.array([answer.scores[name] for answer in answers for name in task.answers])

    def accuracy(scores: np.ndarray) -> float:
        return float((scores.reshape(len(codes), -1).argmax(1) == codes).mean())

    return Comparison(requests=requests, by_torch=by_torch, by_runtime=by_runtime, metric=accuracy)
