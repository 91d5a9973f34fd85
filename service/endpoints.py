"""The table of endpoints: which task of the bundle each one asks, and how to ask it once before users do."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from vlp.runtime.predictor import InputError, Predictor


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
    Endpoint("ask", "vqa", lambda predictor, image: predictor.task("vqa").ask(image, _WORDS)),
    Endpoint("caption", "captioning", lambda predictor, image: predictor.task("captioning").caption(image)),
    Endpoint("classify", "classification", lambda predictor, image: predictor.task("classification").classify(image)),
    Endpoint("segment", "segmentation", lambda predictor, image: predictor.task("segmentation").segment(image, _WORDS)),
    Endpoint("generate", "generation", lambda predictor, _: predictor.task("generation").generate(_WORDS, 0)),
    Endpoint("embed_image", "retrieval", lambda predictor, image: predictor.task("retrieval").embed_image(image)),
    Endpoint("embed_text", "retrieval", lambda predictor, _: predictor.task("retrieval").embed_text([_WORDS])),
    Endpoint("retrieve", "retrieval", lambda predictor, _: predictor.task("retrieval").embed_text([_WORDS])),
)
BY_NAME = {endpoint.name: endpoint for endpoint in TABLE}
PATHS = frozenset(f"/{name}" for name in BY_NAME)


def available(predictor: Predictor) -> list[Endpoint]:
    """Those that this bundle answers."""
    return [endpoint for endpoint in TABLE if endpoint.task in predictor.tasks]


def warm_up(predictor: Predictor) -> None:
    """Ask every endpoint once, so that the first user waits no longer than the next ones."""
    Image.init()  # otherwise the first file that is no picture waits for every decoder to load
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (127, 127, 127)).save(out, "PNG")
    for endpoint in available(predictor):
        try:
            endpoint.warm(predictor, out.getvalue())
        except InputError:  # a bundle of another script refuses the words, after its graphs were opened
            continue
