"""The BentoML service: one endpoint a task, behind the guard, beside the page.

``python -m service`` starts it; so does ``bentoml serve service.app:VisionLanguage``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import bentoml
from bentoml.exceptions import InvalidArgument, NotFound

from service import endpoints, logs, metrics, schemas, web
from service import settings as settings_
from service.guard import Guard
from vlp.runtime.predictor import BundleError, ImageError, InputError, Predictor
from vlp.runtime.threads import usable_processors

SETTINGS = settings_.read()
log = logging.getLogger("vlp.service")
Result = TypeVar("Result")


@bentoml.service(
    name="vlp",
    workers=SETTINGS.workers,
    threads=SETTINGS.parallel,
    # The guard's limits come first, and answer in words; this is for what never reaches it.
    traffic={"timeout": 2 * (SETTINGS.timeout_s + SETTINGS.upload_timeout_s)},
    logging={"access": {"enabled": False}},
)
class VisionLanguage:
    """Questions about pictures, answered by an exported bundle."""

    def __init__(self) -> None:
        logs.configure()
        begun = time.perf_counter()
        threads = max(1, usable_processors() // SETTINGS.workers)
        # The command has hashed the files; several workers need not do so again.
        self.predictor = Predictor.open(SETTINGS.bundle, threads=threads, verify=False)
        self.predictor.limit_images(max_bytes=SETTINGS.max_bytes, max_pixels=SETTINGS.max_pixels)
        endpoints.warm_up(self.predictor)
        web.site.state.predictor = self.predictor
        log.info(
            "ready", extra={"tasks": list(self.predictor.tasks), "seconds": round(time.perf_counter() - begun, 3)}
        )

    def _predict(self, name: str, size: int, call: Callable[[], Result]) -> Result:
        """Run one prediction: what the caller got wrong becomes a 4xx, and the metrics are told."""
        task = endpoints.BY_NAME[name].task
        if task not in self.predictor.tasks:
            raise NotFound(f"/{name} needs the task {task!r}; this bundle holds {', '.join(self.predictor.tasks)}")
        begun = time.perf_counter()
        try:
            return call()
        except (ImageError, InputError) as error:
            raise InvalidArgument(f"image: {error}" if isinstance(error, ImageError) else str(error)) from None
        finally:
            metrics.PREDICTION_SECONDS.labels(task).observe(time.perf_counter() - begun)
            metrics.BATCH_SIZE.labels(task).observe(size)

    @bentoml.api(input_spec=schemas.Matching)
    def match(self, image: bytes, texts: list[str]) -> schemas.Matched:
        """Is each text true of the picture? The picture is encoded once for all of them."""
        found = self._predict("match", len(texts), lambda: self.predictor.match(image, texts))
        return schemas.Matched(
            answers=[
                schemas.Judged(text=text, decision=answer.decision, score=answer.score, scores=answer.scores)
                for text, answer in zip(texts, found, strict=True)
            ]
        )

    @bentoml.api(input_spec=schemas.Explaining)
    def explain(self, image: bytes, text: str) -> schemas.Explained:
        """Is the text true of the picture, and which parts of the picture say so?"""
        found = self._predict("explain", 1, lambda: self.predictor.explain(image, text))
        answer = found.answer
        return schemas.Explained(
            text=text, decision=answer.decision, score=answer.score, scores=answer.scores, heat=found.heat.tolist()
        )


VisionLanguage.mount_asgi_app(web.site, path="/", name="site")
VisionLanguage.add_asgi_middleware(Guard, settings=SETTINGS, endpoints=endpoints.PATHS)
web.site.state.service = VisionLanguage
assert endpoints.BY_NAME.keys() == VisionLanguage.apis.keys()
