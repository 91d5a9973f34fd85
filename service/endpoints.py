"""The table of endpoints: which task of the bundle each one asks, and how to ask it once before users do."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlp.runtime.predictor import Predictor


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to ask: ``POST /<name>``."""

    name: str
    task: str
    """The bundle has it, or the endpoint answers 404."""
    warm: Callable[[Predictor, bytes], object]
    """One call with any picture."""


# What is said in warming up matters to no model; it only has to pass as text, in whatever script the bundle reads.
_WORDS = "1"


def _classify(predictor: Predictor, image: bytes) -> object:
    looks_at = predictor.task("classification").decision["modality"]
    return predictor.classify(None if looks_at == "text" else image, None if looks_at == "image" else _WORDS)


def _retrieve(predictor: Predictor, image: bytes) -> object:
    index = predictor.index(images={_WORDS: image})
    return predictor.retrieve(index, texts=[_WORDS], look=lambda _: image)


TABLE = (
    Endpoint("match", "matching", lambda predictor, image: predictor.match(image, [_WORDS])),
    Endpoint("explain", "matching", lambda predictor, image: predictor.explain(image, _WORDS)),
    Endpoint("ask", "vqa", lambda predictor, image: predictor.ask(image, _WORDS)),
    Endpoint("caption", "captioning", lambda predictor, image: predictor.caption(image)),
    Endpoint("classify", "classification", _classify),
    Endpoint("segment", "segmentation", lambda predictor, image: predictor.segment(image, _WORDS)),
    Endpoint("generate", "generation", lambda predictor, _: predictor.generate(_WORDS, 0)),
    Endpoint("embed_image", "retrieval", lambda predictor, image: predictor.embed_image(image)),
    Endpoint("embed_text", "retrieval", lambda predictor, _: predictor.embed_text([_WORDS])),
    Endpoint("retrieve", "retrieval", _retrieve),
)
BY_NAME = {endpoint.name: endpoint for endpoint in TABLE}
PATHS = frozenset(f"/{name}" for name in BY_NAME)


def available(tasks: Collection[str]) -> list[Endpoint]:
    """Those that a bundle of these tasks answers."""
    return [endpoint for endpoint in TABLE if endpoint.task in tasks]
