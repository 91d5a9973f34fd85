"""Is each text true of the image?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vlp.records import Answer
from vlp.runtime.explain import Explanation, occlusion
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

    def explain(self, image: bytes, text: str) -> Explanation:
        """As of ``Predictor.explain``."""
        (clean,) = self.inputs.cleaned([text])
        prepared = self.inputs.prepared(image)
        found = self.explain_prepared(prepared.pixels, clean)
        return replace(found, heat=self.inputs.over_picture(found.heat, prepared))

    def explain_prepared(self, pixels: np.ndarray, text: str) -> Explanation:
        """``explain`` from where preprocessing ends.

        Args:
            pixels: uint8 [S, S, 3].
            text: cleaned.
        """
        tokens = self.inputs.tokens([text])

        def logits(images: np.ndarray) -> np.ndarray:
            said = {name: np.repeat(array, len(images), axis=0) for name, array in tokens.items()}
            return self.graphs["score"]({**self.graphs["image"]({"images": images}), **said})["logit"]

        whole, heat = occlusion(pixels, logits)
        score = float(sigmoid(np.asarray(whole)))
        return Explanation(answer=_true_or_false(score, self.decision["threshold"]), heat=heat)


def _true_or_false(score: float, threshold: float) -> Answer:
    decision = "true" if score >= threshold else "false"
    return Answer(task="matching", decision=decision, score=score, scores={"true": score, "false": 1.0 - score})
