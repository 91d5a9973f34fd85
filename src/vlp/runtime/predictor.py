"""Answers from a bundle, without torch: bytes and texts in, decisions out.

What goes into a graph passes through ``vlp.preprocessing``, by the parameters that the bundle carries,
exactly as the training data did.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
from tokenizers import Tokenizer

from vlp.params import ParamsError, Section, parse
from vlp.preprocessing import image as images
from vlp.preprocessing import text as texts_
from vlp.records import Answer
from vlp.runtime import bundle as bundles
from vlp.runtime.bundle import Bundle, BundledTask, BundleError
from vlp.runtime.session import Graph
from vlp.runtime.threads import usable_processors

TEXTS_AT_ONCE = 64
"""Longer lists run in pieces of this many: memory stays bounded however many texts a request has."""

AnySection = TypeVar("AnySection", bound=Section)


class InputError(ValueError):
    """A text that cannot be answered about; the message names which one and why."""


class Predictor:
    """An opened bundle. Its methods may be called from several threads.

    Attributes:
        bundle: what was read.
        image_params: what images are prepared with.
        text_params: what texts are judged and cut by.
    """

    def __init__(self, bundle: Bundle, tokenizer: Tokenizer, graphs: dict[str, dict[str, Graph]]) -> None:
        self.bundle = bundle
        self.image_params = _section(bundle, "image", images.ImageParams)
        self.text_params = _section(bundle, "text", texts_.TextParams)
        self._tokenizer = tokenizer
        self._pad = texts_.special_ids(tokenizer)["pad"]
        self._graphs = graphs

    @classmethod
    def open(cls, folder: str | Path, *, threads: int | None = None, verify: bool = True) -> Self:
        """Open the bundle in ``folder`` and every graph of it.

        Args:
            folder: what the export stage wrote.
            threads: of one call; by default what affinity and the control group's quota leave this process.
            verify: check every file's SHA-256 first.

        Raises:
            BundleError: a file is missing, damaged or not what ``bundle.json`` says; the message names it.
        """
        bundle = bundles.read(Path(folder), verify=verify)
        try:
            tokenizer = texts_.load_tokenizer(bundle.path(bundles.TOKENIZER))
        except texts_.TokenizerError as error:
            raise BundleError(str(error)) from None
        threads = usable_processors() if threads is None else threads
        graphs = {
            name: {key: Graph(bundle.path(part.file), part, threads) for key, part in task.parts.items()}
            for name, task in bundle.tasks.items()
        }
        return cls(bundle, tokenizer, graphs)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks that this bundle answers."""
        return tuple(sorted(self.bundle.tasks))

    def match(self, image: bytes, texts: Sequence[str]) -> list[Answer]:
        """Is each text true of the image? The image is encoded once.

        Args:
            image: an image file's bytes.
            texts: statements, each judged by itself.

        Returns:
            One answer a text, in order: ``decision`` is ``true`` or ``false``, ``score`` the probability of true.

        Raises:
            ImageError: the image is refused.
            InputError: a text is refused.
            BundleError: the bundle has no matching task.
        """
        self._task("matching")
        for index, text in enumerate(texts):
            if problem := texts_.problem(text, self.text_params):
                raise InputError(f"texts[{index}]: {problem}")
        pixels = images.prepare(image, self.image_params).pixels
        return self.match_prepared(pixels, [texts_.clean(text) for text in texts])

    def match_prepared(self, pixels: np.ndarray, texts: Sequence[str]) -> list[Answer]:
        """``match`` from where preprocessing ends.

        Args:
            pixels: uint8 [S, S, 3].
            texts: cleaned.
        """
        task = self._task("matching")
        graphs = self._graphs["matching"]
        if not texts:
            return []
        features = graphs["image"]({"images": pixels[None]})
        logits = [
            graphs["score"]({**_repeated(features, len(some)), **self._tokens(some)})["logit"]
            for start in range(0, len(texts), TEXTS_AT_ONCE)
            if (some := texts[start : start + TEXTS_AT_ONCE])
        ]
        threshold = task.decision["threshold"]
        return [_true_or_false("matching", score, threshold) for score in _sigmoid(np.concatenate(logits)).tolist()]

    def _task(self, name: str) -> BundledTask:
        if name not in self.bundle.tasks:
            raise BundleError(f"{self.bundle.folder}: no task {name!r}; it holds {', '.join(self.tasks) or 'none'}")
        return self.bundle.tasks[name]

    def _tokens(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """``input_ids`` and ``attention_mask``, int64 [N, L], padded to the longest."""
        encoded = texts_.encode(self._tokenizer, texts, self.text_params)
        longest = max(map(len, encoded))
        ids = np.full((len(encoded), longest), self._pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return {"input_ids": ids, "attention_mask": mask}


def _repeated(features: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """One image's features, a row for each of ``count`` texts."""
    return {name: np.broadcast_to(array, (count, *array.shape[1:])) for name, array in features.items()}


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float64; by tanh, which cannot overflow."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits.astype(np.float64)))


def _true_or_false(task: str, score: float, threshold: float) -> Answer:
    decision = "true" if score >= threshold else "false"
    return Answer(task=task, decision=decision, score=score, scores={"true": score, "false": 1.0 - score})


def _section(bundle: Bundle, name: str, cls: type[AnySection]) -> AnySection:
    try:
        return parse(cls, bundle.params.get(name), f"{bundle.path(bundles.PARAMS)}: {name}")
    except ParamsError as error:
        raise BundleError(str(error)) from None
