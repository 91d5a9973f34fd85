"""Which pixels does a text name?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlp.runtime.inputs import sigmoid
from vlp.runtime.tasks import base


@dataclass(frozen=True, slots=True)
class Segmentation:
    """What a text names in an image: over the prepared pixels, or over the whole picture, its sides divided in S each.

    ``mask`` bool [S, S]; ``probability`` float32 [S, S], of which the mask is what reaches the threshold.
    """

    mask: np.ndarray
    probability: np.ndarray


class Answers(base.Answering):
    """Graphs ``image`` (pixels → features and maps) and ``mask`` (those and one text → a logit a pixel)."""

    def segment(self, image: bytes, text: str) -> Segmentation:
        """As of ``Predictor.segment``."""
        (clean,) = self.inputs.cleaned([text])
        prepared = self.inputs.prepared(image)
        found = self.segment_prepared(prepared.pixels, clean)
        return Segmentation(
            mask=self.inputs.over_picture(found.mask, prepared),
            probability=self.inputs.over_picture(found.probability, prepared),
        )

    def segment_prepared(self, pixels: np.ndarray, text: str) -> Segmentation:
        """``segment`` from where preprocessing ends.

        Args:
            pixels: uint8 [S, S, 3].
            text: cleaned.
        """
        features = self.graphs["image"]({"images": pixels[None]})
        logits = self.graphs["mask"]({**features, **self.inputs.tokens([text])})["logits"]
        probability = sigmoid(logits[0]).astype(np.float32)
        return Segmentation(mask=probability >= self.decision["threshold"], probability=probability)
