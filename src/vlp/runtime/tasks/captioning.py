"""What does the picture show, in words?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlp.preprocessing.text import decode
from vlp.records import Answer
from vlp.runtime.inputs import InputError, softmax
from vlp.runtime.tasks import base

_FORBIDDEN = -np.inf


@dataclass(frozen=True, slots=True)
class Written:
    """A caption's tokens, the one that ends it included, and the logits float32 [L, V] that each was chosen by."""

    ids: tuple[int, ...]
    logits: np.ndarray


class Answers(base.Answering):
    """Graphs ``begin`` (pixels → first logits and caches) and ``step`` (a token and caches → logits, longer caches)."""

    def caption(self, image: bytes) -> Answer:
        """As of ``Predictor.caption``."""
        return self.caption_prepared(self.inputs.pixels(image))

    def caption_prepared(self, pixels: np.ndarray) -> Answer:
        """``caption`` from where preprocessing ends.

        Args:
            pixels: uint8 [S, S, 3].
        """
        written = self.write(pixels)
        text = decode(self.inputs.tokenizer, written.ids)
        chosen = softmax(written.logits)[np.arange(len(written.ids)), list(written.ids)]
        score = math.exp(float(np.log(chosen).mean()))
        return Answer(task="captioning", decision=text, score=score, scores={text: score})

    def write(self, pixels: np.ndarray, forced: Sequence[int] | None = None) -> Written:
        """Decode greedily: always the likeliest token, until the end or the longest caption there is.

        Args:
            pixels: uint8 [S, S, 3].
            forced: tokens to take instead of the likeliest: what the graphs say of a caption that is given.

        Raises:
            InputError: more tokens are forced than a caption can have.
        """
        end, longest, never = (self.decision[name] for name in ("end", "longest", "never"))
        if forced is not None and len(forced) >= longest:
            raise InputError(f"{len(forced)} tokens; a caption of this model has at most {longest - 1}")
        state = self.graphs["begin"]({"images": pixels[None]})
        ids: list[int] = []
        logits: list[np.ndarray] = []
        most = longest - 1 if forced is None else len(forced)
        while len(ids) < most:
            row = state["logits"][0].copy()
            row[never] = _FORBIDDEN
            logits.append(row)
            ids.append(int(row.argmax()) if forced is None else forced[len(ids)])
            if len(ids) == most or (forced is None and ids[-1] == end):
                break
            further = self.graphs["step"]({**state, "token": np.array([[ids[-1]]])})
            caches = {"past_key": further["next_key"], "past_value": further["next_value"]}
            state = {**state, "logits": further["logits"], **caches}
        return Written(tuple(ids), np.stack(logits))
