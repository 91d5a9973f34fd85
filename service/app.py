"""The BentoML service: one endpoint a task, behind the guard, beside the page.

``python -m service`` starts it; so does ``bentoml serve service.app:VisionLanguage``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import bentoml
from bentoml.exceptions import InvalidArgument, NotFound

from service import endpoints, logs, metrics, schemas, web
from service import settings as settings_
from service.collection import Collection
from service.guard import Guard
from service.records import Records
from vlp.runtime.pictures import png
from vlp.runtime.predictor import Answer, ImageError, InputError, Predictor
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
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    monitoring={"enabled": True, "type": "default", "options": {"log_path": str(SETTINGS.records)}},
)
class VisionLanguage:
    """Questions about pictures, answered by an exported bundle."""

    def __init__(self) -> None:
        logs.configure()
        begun = time.perf_counter()
        threads = max(1, usable_processors() // SETTINGS.workers)
        # The command has hashed the files; several workers need not do so again.
        self.predictor = Predictor.open(
            SETTINGS.bundle,
            threads=threads,
            verify=False,
            runtime=SETTINGS.runtime,
            tolerance=SETTINGS.tolerance,
        )
        self.predictor.limit_images(max_bytes=SETTINGS.max_bytes, max_pixels=SETTINGS.max_pixels)
        endpoints.warm_up(self.predictor)
        web.site.state.predictor = self.predictor
        self.collection = Collection(self.predictor, SETTINGS.samples)
        self.records = None
        if SETTINGS.records is not None:
            self.records = Records(self.predictor.inputs.tokenizer, self.predictor.bundle.name)
        log.info("ready", extra={"tasks": list(self.predictor.tasks), "seconds": round(time.perf_counter() - begun, 3)})

    @bentoml.on_shutdown
    def close(self) -> None:
        """Write the records that still wait."""
        if self.records is not None:
            self.records.close()

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

        def ask() -> list[Answer]:
            inputs = self.predictor.inputs
            clean, pixels = inputs.cleaned(texts), inputs.pixels(image)
            answers: list[Answer] = self.predictor.task("matching").match_prepared(pixels, clean)
            if self.records is not None:
                self.records.add(pixels, clean, answers)
            return answers

        found = self._predict("match", len(texts), ask)
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

    @bentoml.api(input_spec=schemas.Asking)
    def ask(self, image: bytes, question: str) -> schemas.Answered:
        """What is the answer to a question about the picture?"""
        found = self._predict("ask", 1, lambda: self.predictor.task("vqa").ask(image, question))
        return _answered(found)

    @bentoml.api(input_spec=schemas.Showing)
    def caption(self, image: bytes) -> schemas.Captioned:
        """What does the picture show, in words?"""
        found = self._predict("caption", 1, lambda: self.predictor.task("captioning").caption(image))
        return schemas.Captioned(caption=found.decision, score=found.score)

    @bentoml.api(input_spec=schemas.Classifying)
    def classify(self, image: bytes | None, text: str | None) -> schemas.Answered:
        """Which of the known labels hold?"""
        found = self._predict("classify", 1, lambda: self.predictor.task("classification").classify(image, text))
        return _answered(found)

    @bentoml.api(input_spec=schemas.Explaining)
    def segment(self, image: bytes, text: str) -> schemas.Png:
        """Which part of the picture does the text name? A mask, white inside, over the whole picture."""
        found = self._predict("segment", 1, lambda: self.predictor.task("segmentation").segment(image, text))
        return png(found.mask)

    @bentoml.api(input_spec=schemas.Drawing)
    def generate(self, text: str, seed: int) -> schemas.Png:
        """A new picture of what the text says."""
        return png(self._predict("generate", 1, lambda: self.predictor.task("generation").generate(text, seed)))

    @bentoml.api(input_spec=schemas.Showing)
    def embed_image(self, image: bytes) -> schemas.Embedded:
        """The picture as a vector, to be compared with those of texts and of other pictures."""
        found = self._predict("embed_image", 1, lambda: self.predictor.task("retrieval").embed_image(image))
        return schemas.Embedded(embeddings=[found.tolist()])

    @bentoml.api(input_spec=schemas.Saying)
    def embed_text(self, texts: list[str]) -> schemas.Embedded:
        """Texts as vectors, to be compared with those of pictures."""
        found = self._predict("embed_text", len(texts), lambda: self.predictor.task("retrieval").embed_text(texts))
        return schemas.Embedded(embeddings=found.tolist())

    @bentoml.api(input_spec=schemas.Searching)
    def retrieve(self, image: bytes | None, texts: list[str], k: int) -> schemas.Found:
        """Which pictures of the collection fit a description, a picture, or both?"""
        if image is None and not texts:
            raise InvalidArgument("expected an image, texts, or both")
        found = self._predict("retrieve", 1, lambda: self.collection.search(image, texts, k))
        return schemas.Found(hits=[schemas.Hit(id=hit.item.id, score=hit.score) for hit in found])


def _answered(found: Answer) -> schemas.Answered:
    scores = dict(sorted(found.scores.items(), key=lambda item: -item[1]))
    return schemas.Answered(answer=found.decision, score=found.score, scores=scores)


# BentoML's decorator gives back a Service, whatever its types say.
_service: Any = VisionLanguage
_service.mount_asgi_app(web.site, path="/", name="site")
_service.add_asgi_middleware(Guard, settings=SETTINGS, endpoints=endpoints.PATHS)
web.site.state.service = _service
assert endpoints.BY_NAME.keys() == _service.apis.keys()
