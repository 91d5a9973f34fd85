"""Generation: one prompt a record, told by both.

Both are led along the picture that PyTorch tells, for a difference that no eye could see may tip the choice between two
words that are as likely as each other, and from there on there would be two pictures to compare. Scores are what either
thinks likely at each place on the way, the levels of the picture at the end, 0 to 1, and how true either thinks each of
some candidates.

The picture at the end is the same whoever tells it, so it is no measure of a teller. The metric is what rounding can
spoil: how likely the words are that the model told (told by itself they are likeliest to itself, so that whoever thinks
otherwise thinks them less likely), and how true the model thinks the candidate that is kept.
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
CANDIDATES = 4
"""At most so many pictures of each prompt are judged by both."""
LEAST = 1e-12  # of a probability whose logarithm is taken
_FORCED = np.float32(1e6)
"""Noise that leaves no choice."""


def comparison(task: Task, predictor: Predictor, test: Examples, samples: int) -> Comparison:
    """At most ``PROMPTS`` captions of the test split; the metric is the sum of the two, 0 to 2.

    Raises:
        ValueError: the test split has no caption.
    """
    asked = report.prompts(test, min(samples, PROMPTS))
    answers = predictor.task("generation")
    guidance = float(task.decision["guidance"])
    ids, seeds = [prompt.ids for prompt in asked], list(range(len(asked)))
    words = task.tell(ids, seeds, candidates=1, guidance=guidance)
    drawn = task.draw(ids, seeds, candidates=min(CANDIDATES, task.params.candidates), guidance=guidance)
    truth = report.sigmoid(drawn.logits)

    def by_torch(number: int) -> np.ndarray:
        read = [task.told([ids[number]]), *([task.told([wordless(ids[number])])] if guidance != 1 else [])]
        again, likely = _follow(words[[number]], task.words.count, task.step, read)
        with torch.inference_mode():
            levels = task.book.paint(torch.from_numpy(again)).numpy()
        return _scores(likely, levels, task.judge(drawn.pictures[number], ids[number]))

    def by_runtime(number: int) -> np.ndarray:
        text = asked[number].text
        again, likely = _follow(words[[number]], answers.decision["words"], answers.step, answers.read(text))
        return _scores(likely, answers.paint(again), answers.match_prepared(text, drawn.pictures[number]))

    def told_and_kept(scores: np.ndarray) -> float:
        rows = scores.reshape(len(asked), -1)
        # A place is told by the text's own reading; a second one, without words, stands behind it for guidance.
        each = (words.shape[1], 1 if guidance == 1 else 2, task.words.count)
        likely = rows[:, : np.prod(each)].reshape(len(asked), *each)[:, :, 0]
        told = np.take_along_axis(likely, words[..., None], axis=2)
        kept = rows[:, -truth.shape[1] :].argmax(1)
        return float(np.exp(np.log(np.maximum(told, LEAST)).mean()) + truth[np.arange(len(asked)), kept].mean())

    return Comparison(requests=seeds, by_torch=by_torch, by_runtime=by_runtime, metric=told_and_kept)


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


def _scores(logits: np.ndarray, levels: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Probabilities of logits [..., K], levels before they are rounded to bytes, and truths: float64 [n]."""
    likely = np.exp(logits - logits.max(-1, keepdims=True))
    likely /= likely.sum(-1, keepdims=True)
    shown = (np.clip(levels, -1, 1).astype(np.float64).ravel() + 1) / 2
    return np.concatenate([likely.ravel(), shown, report.sigmoid(judged)])
