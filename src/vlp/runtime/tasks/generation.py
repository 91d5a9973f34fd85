"""A picture of what a text says."""

from __future__ import annotations

import numpy as np

from vlp.runtime import sampling
from vlp.runtime.inputs import InputError, repeated
from vlp.runtime.tasks import base

WORDLESS = np.array([0, -1])
"""The places of the tokens that open and close every text."""


class Answers(base.Answering):
    """Graphs ``text`` (a text → tokens), ``step`` (points and texts → velocities), ``match`` (pictures and texts)."""

    def generate(self, text: str, seed: int) -> np.ndarray:
        """As of ``Predictor.generate``."""
        if seed < 0:
            raise InputError(f"seed: {seed}; expected 0 or more")
        (clean,) = self.inputs.cleaned([text])
        return self.generate_prepared(clean, seed)

    def generate_prepared(self, text: str, seed: int) -> np.ndarray:
        """``generate`` from where preprocessing ends.

        Args:
            text: cleaned.
            seed: of the noise.
        """
        candidates = int(self.decision["candidates"])
        pictures = sampling.pixels(self.flow_prepared(text, seed, candidates))
        if candidates == 1:
            return np.asarray(pictures[0])
        told, _ = self._tokens(text, candidates)
        return np.asarray(pictures[int(self.graphs["match"]({"images": pictures, **told})["logit"].argmax())])

    def flow_prepared(self, text: str, seed: int, candidates: int) -> np.ndarray:
        """Where the flow ends, float32 [candidates, 3, S, S], −1 to 1 and a little beyond. Args as above."""
        told, untold = self._tokens(text, candidates)

        def velocity(points: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            place = {"points": points, "times": times}
            with_text, without = (self.graphs["step"]({**place, **side})["velocity"] for side in (told, untold))
            return with_text, without

        size = self.inputs.image_params.size
        noise = sampling.noise([seed], candidates, (3, size, size))
        return sampling.euler(velocity, noise, steps=self.decision["steps"], guidance=self.decision["guidance"])

    def _tokens(self, text: str, candidates: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What ``step`` is told of the text, and what it is told of a text without words."""
        tokens = self.inputs.tokens([text])
        without = {name: array[:, WORDLESS] for name, array in tokens.items()}
        sides = [{**self.graphs["text"](each), "attention_mask": each["attention_mask"]} for each in (tokens, without)]
        return repeated(sides[0], candidates), repeated(sides[1], candidates)
