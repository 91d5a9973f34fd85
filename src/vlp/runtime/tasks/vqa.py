"""What is the answer to a question about the image?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlp.records import Answer
from vlp.runtime.inputs import repeated, softmax
from vlp.runtime.tasks import base

TEXTS_AT_ONCE = 64
"""Longer lists run in pieces of this many: memory stays bounded however many questions a request has."""


class Answers(base.Answering):
    """Graphs ``image`` (pixels → features) and ``answer`` (features and one question → a logit an answer)."""

    def ask(self, image: bytes, question: str) -> Answer:
        """As of ``Predictor.ask``."""
        clean = self.inputs.cleaned([question], "question")
        return self.ask_prepared(self.inputs.pixels(image), clean)[0]

    def ask_prepared(self, pixels: np.ndarray, questions: Sequence[str]) -> list[Answer]:
        """``ask`` from where preprocessing ends, any number of questions about one image, which is encoded once.

        Args:
            pixels: uint8 [S, S, 3].
            questions: cleaned.
        """
        if not questions:
            return []
        features = self.graphs["image"]({"images": pixels[None]})
        logits = [
            self.graphs["answer"]({**repeated(features, len(some)), **self.inputs.tokens(some)})["logits"]
            for start in range(0, len(questions), TEXTS_AT_ONCE)
            if (some := questions[start : start + TEXTS_AT_ONCE])
        ]
        probabilities = softmax(np.concatenate(logits) / self.decision["temperature"])
        return [_likeliest(self.decision["answers"], row.tolist()) for row in probabilities]


def _likeliest(answers: Sequence[str], probabilities: Sequence[float]) -> Answer:
    scores = dict(zip(answers, probabilities, strict=True))
    best = max(scores, key=scores.__getitem__)
    return Answer(task="vqa", decision=best, score=scores[best], scores=scores)
