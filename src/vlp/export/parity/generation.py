"""Generation: one prompt a record, told by both.

Both are led along the picture that PyTorch tells, for a difference that no eye could see may tip the choice between two
words that are as likely as each other, and from there on there would be two pictures to compare. Scores are what either
thinks likely at each place on the way, and the levels of the picture at the end, 0 to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from vlp.data.loading import Examples, wordless
from vlp.export.parity.base import Comparison
from vlp.runtime import sampling
from vlp.runtime.predictor import Predictor
from vlp.runtime.sampling import Step, Told
from vlp.tasks.generation import report

if TYPE_CHECKING:
    from vlp.tasks.generation import Task

PROMPTS = 16
"""At most so many are drawn: a picture costs a thousand times what another task's answer does."""
_FORCED = np.float32(1e6)
"""Noise that leaves no choice."""


def comparison(task: Task, predictor: Predictor, test: Examples, samples: int) -> Comparison:
    """At most ``PROMPTS`` captions of the test split; the metric is what the matching head says of the pictures.

    Raises:
        ValueError: the test split has no caption.
    """
    asked = report.prompts(test, min(samples, PROMPTS))
    answers = predictor.task("generation")
    guidance = float(task.decision["guidance"])
    ids = [prompt.ids for prompt in asked]
    words = task.tell(ids, list(range(len(asked))), candidates=1, guidance=guidance)

    def by_torch(number: int) -> np.ndarray:
        read = [task.told([ids[number]]), *([task.told([wordless(ids[number])])] if guidance != 1 else [])]
        again, likely = _follow(words[[number]], task.words.count, task.step, read)
        with torch.inference_mode():
            levels = task.book.paint(torch.from_numpy(again)).numpy()
        return _scores(likely, levels)

    def by_runtime(number: int) -> np.ndarray:
        read = answers.read(asked[number].text)
        again, likely = _follow(words[[number]], answers.decision["words"], answers.step, read)
        return _scores(likely, answers.paint(again))

    @torch.inference_mode()
    def matching_score(scores: np.ndarray) -> float:
        size = task.prepared.image_size
        levels = scores.reshape(len(asked), -1)[:, -3 * size**2 :].reshape(-1, 3, size, size)
        pictures = sampling.pixels((2 * levels - 1).astype(np.float32))
        return task.matching_score(torch.from_numpy(pictures), ids)

    return Comparison(requests=list(range(len(asked))), by_torch=by_torch, by_runtime=by_runtime, metric=matching_score)


def _follow(words: np.ndarray, count: int, step: Step, read: list[Told]) -> tuple[np.ndarray, np.ndarray]:
    """Tell these words [1, P] and no others; beside them what was thought likely, [P, texts read, V]."""
    likely: list[np.ndarray] = []

    def watched(known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = step(known)
        likely.append(found["logits"].astype(np.float64))
        return found

    noise = np.zeros((1, words.shape[1], count), np.float32)
    np.put_along_axis(noise, words[..., None], _FORCED, axis=2)
    # Guidance changes nothing where words are forced.
    again = sampling.tell(watched, read[0], read[1] if len(read) > 1 else None, noise, guidance=1.0)
    assert np.array_equal(again, words)
    return again, np.stack(likely)


def _scores(logits: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Probabilities of logits [..., K], then levels before they are rounded to bytes: float64 [n]."""
    likely = np.exp(logits - logits.max(-1, keepdims=True))
    likely /= likely.sum(-1, keepdims=True)
    return np.concatenate([likely.ravel(), (np.clip(levels, -1, 1).astype(np.float64).ravel() + 1) / 2])
