"""Is each text true of the image?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlp.records import Answer
from vlp.runtime.inputs import repeated, sigmoid
from vlp.runtime.tasks import base

TEXTS_AT_ONCE = 64
"""Longer lists run in pieces of this many: memory stays bounded however many texts a request has."""


class Answers(base.Answering):
    """Graphs ``image`` (pixels → features) and ``score`` (features and one text → a logit)."""

    def match(self, image: bytes, texts: Sequence[str]) -> list[Answer]:
        """As of ``Predictor.match``."""
        clean = self.inputs.cleaned(texts)
        return self.match_prepared(self.inputs.pixels(image), clean)

    def match_prepared(self, pixels: np.ndarray, texts: Sequence[str]) -> list[Answer]:
        """``match`` from where preprocessing ends.

        Args:
            pixels: uint8 [S, S, 3].
            texts: cleaned.
        """
        if not texts:
            return []
        features = self.graphs["image"]({"images": pixels[None]})
        logits = [
            self.graphs["score"]({**repeated(features, len(some)), **self.inputs.tokens(some)})["logit"]
            for start in range(0, len(texts), TEXTS_AT_ONCE)
            if (some := texts[start : start + TEXTS_AT_ONCE])
        ]
        threshold = self.decision["threshold"]
        return [_true_or_false(score, threshold) for score in sigmoid(np.concatenate(logits)).tolist()]


def _true_or_false(score: float, threshold: float) -> Answer:
    decision = "true" if score >= threshold else "false"
    return Answer(task="matching", decision=decision, score=score, scores={"true": score, "false": 1.0 - score})
