"""Which of many texts belongs to this image, and which of many images to this text?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vlp.preprocessing.image import ImageError
from vlp.runtime.index import Hit, Index, Item, SearchError, direction
from vlp.runtime.inputs import repeated
from vlp.runtime.tasks import base

TEXTS_AT_ONCE = 64
"""Longer lists run in pieces of this many."""

Features = dict[str, np.ndarray]
Open = Callable[[str], bytes | None]
"""The bytes of the image of an item, by its id; None where it has none."""


class Answers(base.Answering):
    """Graphs ``image`` and ``text`` (to unit vectors) and ``score`` (features and one text → a logit and a prior)."""

    @property
    def width(self) -> int:
        """W of the vectors."""
        width = self.graphs["text"].part.outputs[0].shape[-1]
        assert isinstance(width, int)
        return width

    def embed_image(self, image: bytes) -> np.ndarray:
        """As of ``Predictor.embed_image``."""
        return self.embed_image_prepared(self.inputs.pixels(image))

    def embed_image_prepared(self, pixels: np.ndarray) -> np.ndarray:
        """``embed_image`` from where preprocessing ends: uint8 [S, S, 3]."""
        return self.features(pixels)["image_embedding"][0]

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """As of ``Predictor.embed_text``."""
        return self.embed_text_prepared(self.inputs.cleaned(texts))

    def embed_text_prepared(self, texts: Sequence[str]) -> np.ndarray:
        """``embed_text`` from where preprocessing ends: cleaned texts."""
        vectors = [self.graphs["text"](self.inputs.tokens(some))["text_embedding"] for some in _pieces(texts)]
        return np.concatenate(vectors) if vectors else np.empty((0, self.width), np.float32)

    def features(self, pixels: np.ndarray) -> Features:
        """What the graphs make of one image once, for any number of texts."""
        return self.graphs["image"]({"images": pixels[None]})

    def telling(self, features: Features, texts: Sequence[str]) -> float:
        """Log-probability that all of the clean ``texts`` are true of the image, less what they have of any image."""
        found = 0.0
        for some in _pieces(texts):
            said = self.graphs["score"]({**repeated(features, len(some)), **self.inputs.tokens(some)})
            # log σ(x) = −log(1 + e^−x)
            found -= float((np.logaddexp(0.0, -said["logit"].astype(np.float64)) + said["prior"]).sum())
        return found

    def index(self, images: Mapping[str, bytes], texts: Mapping[str, Sequence[str]], model: str) -> Index:
        """As of ``Predictor.index``."""
        items, vectors = [], []
        for name in dict.fromkeys([*images, *texts]):
            said = self.inputs.cleaned(texts.get(name, ()), f"texts[{name!r}]")
            parts = [self.embed_image_prepared(self._pixels(name, images[name]))[None]] if name in images else []
            if said:
                parts.append(direction(self.embed_text_prepared(said))[None])
            if not parts:
                raise SearchError(f"item {name!r}: neither an image nor a text")
            items.append(Item(id=name, texts=tuple(said)))
            vectors.append(direction(np.concatenate(parts)))
        return Index(items, np.stack(vectors) if vectors else np.empty((0, self.width), np.float32), model)

    def retrieve(
        self, index: Index, image: bytes | None, texts: Sequence[str], like: Sequence[str], k: int, look: Open | None
    ) -> list[Hit]:
        """As of ``Predictor.retrieve``."""
        pixels = None if image is None else self.inputs.pixels(image)
        return self.retrieve_prepared(index, pixels, self.inputs.cleaned(texts), like, k, look)

    def retrieve_prepared(
        self,
        index: Index,
        pixels: np.ndarray | None,
        texts: Sequence[str],
        like: Sequence[str] = (),
        k: int = 10,
        look: Open | None = None,
    ) -> list[Hit]:
        """``retrieve`` from where preprocessing ends."""
        features = None if pixels is None else self.features(pixels)
        parts = [] if features is None else [features["image_embedding"]]
        if texts:
            parts.append(direction(self.embed_text_prepared(texts))[None])
        if like:
            parts.append(index.vectors_of(like))
        query = direction(np.concatenate(parts) if parts else np.empty((0, index.vectors.shape[1])))
        rerank = self.decision["rerank"]
        found = index.search(query, max(k, rerank), exclude=like)
        if like or not rerank:
            return found[:k]
        if features is not None and not texts and any(hit.item.texts for hit in found[:rerank]):
            read = features

            def says(item: Item) -> float | None:
                if not item.texts:
                    return None
                return self.telling(read, self.inputs.cleaned(item.texts, f"index: item {item.id!r}: texts"))

            found = self._again(found, "image_to_text", says)
        elif features is None and look is not None:
            opened = look

            def shows(item: Item) -> float | None:
                image = opened(item.id)
                return None if image is None else self.telling(self.features(self._pixels(item.id, image)), texts)

            found = self._again(found, "text_to_image", shows)
        return found[:k]

    def _pixels(self, name: str, image: bytes) -> np.ndarray:
        """The prepared image of an item; one that is refused is named."""
        try:
            return self.inputs.pixels(image)
        except ImageError as error:
            raise ImageError(error.reason, f"item {name!r}: {error.detail}") from None

    def _again(self, found: list[Hit], way: str, look: Callable[[Item], float | None]) -> list[Hit]:
        """The first ``rerank`` hits in the order of both stages, the others behind them in the order that they have.

        An item without what is to be looked at (``look`` gives None) stands, among those, behind the rest. A cosine and
        what both stages say are no numbers of one kind, so that the scores of those behind begin below the others', as
        in evaluation (``Scores.ranked``): who reads an answer's scores finds them falling.
        """
        scale, weight, rerank = (self.decision[name] for name in ("scale", way, "rerank"))
        best, rest = found[:rerank], found[rerank:]
        looked = [(hit, look(hit.item)) for hit in best]
        mute = [hit for hit, told in looked if told is None]
        seen = [replace(hit, score=hit.score + weight / scale * told) for hit, told in looked if told is not None]
        if not seen:
            return found
        seen.sort(key=lambda hit: -hit.score)
        below = seen[-1].score - found[0].score - 1
        return [*seen, *(replace(hit, score=hit.score + below) for hit in (*mute, *rest))]


def _pieces(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE)]
