"""The BentoML service: one endpoint a task, behind the guard, beside the page.

``python -m service`` starts it; so does ``bentoml serve service.app:VisionLanguage``.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import bentoml
from bentoml.exceptions import InvalidArgument

from service import endpoints, logs, schemas, web
from service import settings as settings_
from service.guard import Guard

if TYPE_CHECKING:
    from service.model import Answer

SETTINGS = settings_.read()
log = logging.getLogger("vlp.service")


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
        begun = time.perf_counter()
        from service.model import Model, png  # here: in the workers only

        logs.configure()
        self.model = Model(SETTINGS)
        self.png = png
        web.site.state.predictor = self.model.predictor
        tasks = list(self.model.predictor.tasks)
        log.info("ready", extra={"tasks": tasks, "seconds": round(time.perf_counter() - begun, 3)})

    @bentoml.on_shutdown
    def close(self) -> None:
        """Write the records that still wait."""
        self.model.close()

    @bentoml.api(input_spec=schemas.Matching)
    def match(self, image: bytes, texts: list[str]) -> schemas.Matched:
        """Is each text true of the picture? The picture is encoded once for all of them."""
        found = self.model.match(image, texts)
        return schemas.Matched(
            answers=[
                schemas.Judged(text=text, decision=answer.decision, score=answer.score, scores=answer.scores)
                for text, answer in zip(texts, found, strict=True)
            ]
        )

    @bentoml.api(input_spec=schemas.Explaining)
    def explain(self, image: bytes, text: str) -> schemas.Explained:
        """Is the text true of the picture, and which parts of the picture say so?"""
        found = self.model.run("explain", 1, lambda predictor: predictor.explain(image, text))
        answer = found.answer
        return schemas.Explained(
            text=text, decision=answer.decision, score=answer.score, scores=answer.scores, heat=found.heat.tolist()
        )

    @bentoml.api(input_spec=schemas.Asking)
    def ask(self, image: bytes, question: str) -> schemas.Answered:
        """What is the answer to a question about the picture?"""
        found = self.model.run("ask", 1, lambda predictor: predictor.ask(image, question))
        return _answered(found)

    @bentoml.api(input_spec=schemas.Showing)
    def caption(self, image: bytes) -> schemas.Captioned:
        """What does the picture show, in words?"""
        found = self.model.run("caption", 1, lambda predictor: predictor.caption(image))
        return schemas.Captioned(caption=found.decision, score=found.score)

    @bentoml.api(input_spec=schemas.Classifying)
    def classify(self, image: bytes | None, text: str | None) -> schemas.Classified:
        """Which of the known labels hold?"""
        found = self.model.run("classify", 1, lambda predictor: predictor.classify(image, text))
        labels = self.model.predictor.task("classification").named(found.scores)
        return schemas.Classified(answer=found.decision, labels=labels, score=found.score, scores=_sorted(found))

    @bentoml.api(input_spec=schemas.Explaining)
    def segment(self, image: bytes, text: str) -> schemas.Png:
        """Which part of the picture does the text name? A mask, white inside, over the whole picture."""
        found = self.model.run("segment", 1, lambda predictor: predictor.segment(image, text))
        return self.png(found.mask)

    @bentoml.api(input_spec=schemas.Drawing)
    def generate(self, text: str, seed: int) -> schemas.Png:
        """A new picture of what the text says."""
        return self.png(self.model.run("generate", 1, lambda predictor: predictor.generate(text, seed)))

    @bentoml.api(input_spec=schemas.Showing)
    def embed_image(self, image: bytes) -> schemas.Embedded:
        """The picture as a vector, to be compared with those of texts and of other pictures."""
        found = self.model.run("embed_image", 1, lambda predictor: predictor.embed_image(image))
        return schemas.Embedded(embeddings=[found.tolist()])

    @bentoml.api(input_spec=schemas.Saying)
    def embed_text(self, texts: list[str]) -> schemas.Embedded:
        """Texts as vectors, to be compared with those of pictures."""
        found = self.model.run("embed_text", len(texts), lambda predictor: predictor.embed_text(texts))
        return schemas.Embedded(embeddings=found.tolist())

    @bentoml.api(input_spec=schemas.Searching)
    def retrieve(
        self,
        image: bytes | None,
        texts: list[str],
        like: list[str],
        k: int,
        index: bytes | None,
        vectors: bytes | None,
    ) -> schemas.Found:
        """Which pictures of the collection fit a description, a picture, others that were liked, or all of it?"""
        if image is None and not texts and not like:
            raise InvalidArgument("expected an image, texts, like, or several of them")
        if (index is None) is not (vectors is None):
            raise InvalidArgument("index and vectors: expected both files of an index, or neither")
        found = self.model.retrieve(
            image, texts, like, k, None if index is None or vectors is None else (index, vectors)
        )
        return schemas.Found(hits=[schemas.Hit(id=hit.item.id, score=hit.score) for hit in found])


def _answered(found: Answer) -> schemas.Answered:
    return schemas.Answered(answer=found.decision, score=found.score, scores=_sorted(found))


def _sorted(found: Answer) -> dict[str, float]:
    return dict(sorted(found.scores.items(), key=lambda item: -item[1]))


# BentoML's decorator gives back a Service, whatever its types say.
_service: Any = VisionLanguage
_service.mount_asgi_app(web.site, path="/", name="site")
_service.add_asgi_middleware(Guard, settings=SETTINGS, endpoints=endpoints.PATHS)
web.site.state.service = _service
assert endpoints.BY_NAME.keys() == _service.apis.keys()
