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


# What is said in warming up matters to no model; it only has to pass as text.
_WORDS = "a picture"
TABLE = (
    Endpoint("match", "matching", lambda predictor, image: predictor.match(image, [_WORDS])),
    Endpoint("explain", "matching", lambda predictor, image: predictor.explain(image, _WORDS)),
    Endpoint("ask", "vqa", lambda predictor, image: predictor.ask(image, _WORDS)),
    Endpoint("caption", "captioning", lambda predictor, image: predictor.caption(image)),
    Endpoint("classify", "classification", lambda predictor, image: predictor.classify(image)),
    Endpoint("segment", "segmentation", lambda predictor, image: predictor.segment(image, _WORDS)),
    Endpoint("generate", "generation", lambda predictor, _: predictor.generate(_WORDS, 0)),
    Endpoint("embed_image", "retrieval", lambda predictor, image: predictor.embed_image(image)),
    Endpoint("embed_text", "retrieval", lambda predictor, _: predictor.embed_text([_WORDS])),
    Endpoint("retrieve", "retrieval", lambda predictor, _: predictor.embed_text([_WORDS])),
)
BY_NAME = {endpoint.name: endpoint for endpoint in TABLE}
PATHS = frozenset(f"/{name}" for name in BY_NAME)


def available(tasks: Collection[str]) -> list[Endpoint]:
    """Those that a bundle of these tasks answers."""
    return [endpoint for endpoint in TABLE if endpoint.task in tasks]
