"""A picture of what a text says."""

from __future__ import annotations

import numpy as np

from vlp.runtime import sampling
from vlp.runtime.inputs import InputError, repeated
from vlp.runtime.sampling import Told
from vlp.runtime.tasks import base

WORDLESS = np.array([0, -1])
"""The places of the tokens that open and close every text."""


class Answers(base.Answering):
    """Graphs ``text`` (what is read of it), ``step`` (what follows a word), ``paint`` (words → levels), ``match``."""

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
        pictures = sampling.pixels(self.paint(self.tell_prepared(text, seed, candidates)))
        if candidates == 1:
            return np.asarray(pictures[0])
        return np.asarray(pictures[int(self.match_prepared(text, pictures).argmax())])

    def match_prepared(self, text: str, pictures: np.ndarray) -> np.ndarray:
        """Logits float32 [N] of the matching head: above zero, the more likely is the text true of the picture.

        Args:
            text: cleaned.
            pictures: uint8 [N, S, S, 3].
        """
        tokens = self.inputs.tokens([text])
        told = {
            "text_tokens": self.graphs["text"](tokens)["text_tokens"],
            "attention_mask": tokens["attention_mask"],
        }
        return np.asarray(self.graphs["match"]({"images": pictures, **repeated(told, len(pictures))})["logit"])

    def tell_prepared(self, text: str, seed: int, candidates: int) -> np.ndarray:
        """The words of candidates, int64 [candidates, P]. Args as above."""
        told, *untold = (_repeated(read, candidates) for read in self.read(text))
        noise = sampling.noise([seed], candidates, self.decision["places"], self.decision["words"])
        guidance = float(self.decision["guidance"])
        return sampling.tell(self.step, told, untold[0] if untold else None, noise, guidance=guidance)

    def step(self, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One place, as of ``sampling.Step``."""
        return self.graphs["step"]({name: np.ascontiguousarray(array) for name, array in known.items()})

    def paint(self, words: np.ndarray) -> np.ndarray:
        """Levels float32 [N, 3, S, S], −1 to 1, of words int64 [N, P]."""
        return np.asarray(self.graphs["paint"]({"words": words})["levels"])

    def read(self, text: str) -> list[Told]:
        """What is read of a text and, where guidance asks for it, of one without words."""
        tokens = self.inputs.tokens([text])
        wordless = {name: array[:, WORDLESS] for name, array in tokens.items()}
        sides = [tokens] if self.decision["guidance"] == 1 else [tokens, wordless]
        read = [self.graphs["text"](side) for side in sides]
        return [
            Told(found["keys"], found["values"], side["attention_mask"])
            for found, side in zip(read, sides, strict=True)
        ]


def _repeated(read: Told, times: int) -> Told:
    """One text's reading, for ``times`` pictures."""
    return Told(
        np.repeat(read.keys, times, axis=1), np.repeat(read.values, times, axis=1), np.repeat(read.seen, times, axis=0)
    )
