"""From what a caller sends to what a graph eats: by the parameters and the tokenizer that the bundle carries."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from tokenizers import Tokenizer

from vlp.params import ParamsError, Section, parse
from vlp.preprocessing import image as images
from vlp.preprocessing import text as texts_
from vlp.runtime import bundle as bundles
from vlp.runtime.bundle import Bundle, BundleError

AnySection = TypeVar("AnySection", bound=Section)


class InputError(ValueError):
    """A text that cannot be answered about; the message names which one and why."""


class Inputs:
    """How a bundle's training data was prepared, done again to one request.

    Args:
        bundle: what was read.

    Attributes:
        image_params: what images are prepared with.
        text_params: what texts are judged and cut by.
        tokenizer: the bundle's own.

    Raises:
        BundleError: its tokenizer or a section of its parameters cannot be used.
    """

    def __init__(self, bundle: Bundle) -> None:
        try:
            self.tokenizer: Tokenizer = texts_.load_tokenizer(bundle.path(bundles.TOKENIZER))
        except texts_.TokenizerError as error:
            raise BundleError(str(error)) from None
        self.image_params = _section(bundle, "image", images.ImageParams)
        self.text_params = _section(bundle, "text", texts_.TextParams)
        self._pad = texts_.special_ids(self.tokenizer)["pad"]
        self._decoding: threading.Semaphore | None = None

    def limit_images(self, *, max_bytes: int, max_pixels: int, at_once: int | None = None) -> None:
        """As of ``Predictor.limit_images``."""
        now = self.image_params
        tighter = {"max_bytes": min(max_bytes, now.max_bytes), "max_pixels": min(max_pixels, now.max_pixels)}
        self.image_params = now.model_copy(update=tighter)
        self._decoding = None if at_once is None else threading.Semaphore(at_once)

    def pixels(self, image: bytes) -> np.ndarray:
        """An image file's bytes → uint8 [S, S, 3].

        Raises:
            ImageError: the image is refused.
        """
        return self.prepared(image).pixels

    def prepared(self, image: bytes) -> images.Prepared:
        """``pixels``, and the size of the picture that they were."""
        if self._decoding is None:
            return images.prepare(image, self.image_params)
        with self._decoding:
            return images.prepare(image, self.image_params)

    def over_picture(self, values: np.ndarray, prepared: images.Prepared) -> np.ndarray:
        """A map [n, n] over prepared pixels as one over the whole picture, whose sides it divides in n each."""
        return images.over_picture(values, self.image_params, prepared.width, prepared.height)

    def cleaned(self, texts: Sequence[str], field: str = "texts") -> list[str]:
        """The texts as training saw them.

        Raises:
            InputError: a text is refused; the message names it by ``field`` and place.
        """
        for index, text in enumerate(texts):
            if problem := texts_.problem(text, self.text_params):
                raise InputError(f"{field}[{index}]: {problem}")
        return [texts_.clean(text) for text in texts]

    def tokens(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Clean texts → ``input_ids`` and ``attention_mask``, int64 [N, L], padded to the longest."""
        encoded = texts_.encode(self.tokenizer, texts, self.text_params)
        longest = max(map(len, encoded))
        ids = np.full((len(encoded), longest), self._pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return {"input_ids": ids, "attention_mask": mask}


def repeated(features: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """One image's features, a row for each of ``count`` texts."""
    return {name: np.broadcast_to(array, (count, *array.shape[1:])) for name, array in features.items()}


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float64; by tanh, which cannot overflow."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits.astype(np.float64)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, float64."""
    shifted = logits.astype(np.float64)
    exponents = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def _section(bundle: Bundle, name: str, cls: type[AnySection]) -> AnySection:
    try:
        return parse(cls, bundle.params.get(name), f"{bundle.path(bundles.PARAMS)}: {name}")
    except ParamsError as error:
        raise BundleError(str(error)) from None
