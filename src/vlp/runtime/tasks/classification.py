"""Which of the known labels does an image have, a text, or the two together?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vlp.records import Answer
from vlp.runtime.inputs import InputError, sigmoid, softmax
from vlp.runtime.tasks import base

SEES, READS = ("image", "both"), ("text", "both")


class Answers(base.Answering):
    """One graph, ``label``: an image, a text or both → a logit a label."""

    def classify(self, image: bytes | None = None, text: str | None = None) -> Answer:
        """As of ``Predictor.classify``."""
        modality = self.decision["modality"]
        for name, given, wanted in (("image", image, modality in SEES), ("text", text, modality in READS)):
            if wanted and given is None:
                raise InputError(f"{name}: missing; this bundle classifies by {modality}")
            if given is not None and not wanted:
                raise InputError(f"{name}: not looked at; this bundle classifies by {modality} alone")
        pixels = None if image is None else self.inputs.pixels(image)
        clean = None if text is None else self.inputs.cleaned([text], "text")[0]
        return self.classify_prepared(pixels, clean)

    def classify_prepared(self, pixels: np.ndarray | None = None, text: str | None = None) -> Answer:
        """``classify`` from where preprocessing ends.

        Args:
            pixels: uint8 [S, S, 3]; None where the bundle looks at the text alone.
            text: cleaned; None where it looks at the image alone.
        """
        arrays = {} if pixels is None else {"images": pixels[None]}
        if text is not None:
            arrays |= self.inputs.tokens([text])
        logits = self.graphs["label"](arrays)["logits"][0] / self.decision["temperature"]
        single = self.decision["kind"] == "single"
        probabilities = (softmax(logits) if single else sigmoid(logits)).tolist()
        scores = dict(zip(self.decision["labels"], probabilities, strict=True))
        named = self.named(scores)
        return Answer(
            task="classification",
            decision=", ".join(named),
            score=scores[named[0]] if named else max(probabilities),
            scores=scores,
        )

    def named(self, scores: Mapping[str, float]) -> list[str]:
        """The likeliest label; where each is decided by itself, those at or above their thresholds, likeliest first.

        Args:
            scores: every label's probability.
        """
        order = sorted(self.decision["labels"], key=lambda label: -scores[label])
        if self.decision["kind"] == "single":
            return order[:1]
        least = dict(zip(self.decision["labels"], self.decision["thresholds"], strict=True))
        return [label for label in order if scores[label] >= least[label]]
