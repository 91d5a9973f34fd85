"""Retrieval: an image and the captions of its own record and of another's: vectors, cosines, and the second look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from vlp.data.loading import Examples, TokenIds, pad
from vlp.export.parity.base import Comparison, spread
from vlp.runtime.predictor import Predictor

if TYPE_CHECKING:
    from vlp.tasks.retrieval import Task


@dataclass(frozen=True, slots=True)
class Request:
    """One image and two descriptions, its own first, as clean text for one side and as token ids for the other."""

    row: int
    texts: list[list[str]]
    ids: list[list[TokenIds]]


def comparison(task: Task, predictor: Predictor, test: Examples, samples: int) -> Comparison:
    """``samples`` test records; of each a cosine and what the second stage says for either description.

    The metric is how often the record's own description is the better one by both stages together.

    Raises:
        ValueError: the test split has fewer than two records with a caption.
    """
    known = [row for row in range(len(test)) if test.ids("captions", "ids", row)]
    if len(known) < 2:
        raise ValueError(f"{test.folder}: the test split has {len(known)} records with a caption; two are needed")
    rows = [known[place] for place in spread(len(known), samples)]
    others = {row: known[(place + 1) % len(known)] for place, row in enumerate(known)}
    requests = [_request(task, test, row, others[row]) for row in rows]
    answers = predictor.task("retrieval")
    weight = task.decision["image_to_text"]

    @torch.inference_mode()
    def by_torch(request: Request) -> np.ndarray:
        image = task.model.encode_image(test.images([request.row]))
        found = []
        for ids in request.ids:
            texts = pad(ids, [0] * len(ids), task.prepared.pad_id)
            text = task.model.encode_text(texts.input_ids, texts.attention_mask)
            cosine = task.embed_image(image)[0] @ F.normalize(task.embed_text(text).mean(0), dim=0)
            logits = task.logits(image, text, texts.attention_mask, torch.arange(len(ids)))
            found += [float(cosine), float((F.logsigmoid(logits) - task.likely(text)).double().sum())]
        return np.array(found)

    def by_runtime(request: Request) -> np.ndarray:
        features = answers.features(test.images([request.row])[0].numpy())
        found = []
        for texts in request.texts:
            mean = answers.embed_text_prepared(texts).mean(0)
            cosine = features["image_embedding"][0] @ (mean / np.linalg.norm(mean))
            found += [float(cosine), answers.telling(features, texts)]
        return np.array(found)

    def own_first(scores: np.ndarray) -> float:
        both = scores.reshape(-1, 2, 2) @ np.array([task.decision["scale"], weight])
        return float((both[:, 0] > both[:, 1]).mean())

    return Comparison(requests=requests, by_torch=by_torch, by_runtime=by_runtime, metric=own_first)


def _request(task: Task, test: Examples, row: int, other: int) -> Request:
    request = Request(row, [], [])
    for each in (row, other):
        captions = test.values("captions", each)[: task.params.captions_per_query]
        request.texts.append([str(caption["text"]) for caption in captions])
        request.ids.append([ids for ids in test.ids("captions", "ids", each) if ids is not None][: len(captions)])
    return request
