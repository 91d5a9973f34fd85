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
    title: str
    """What the page calls it."""
    warm: Callable[[Predictor, bytes], object]
    """One call with any picture."""


TABLE = (
    Endpoint("match", "matching", "Match", lambda predictor, image: predictor.match(image, ["a picture"])),
    Endpoint("explain", "matching", "Explain", lambda predictor, image: predictor.explain(image, "a picture")),
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
