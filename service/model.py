"""The opened bundle of a worker: warmed up, asked, measured, recorded.

Apart from ``app``, which the command that starts the workers imports, too: that one needs no engine and no arrays,
and is up in half the time without.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import TypeVar

from bentoml.exceptions import InvalidArgument, NotFound
from PIL import Image

from service import endpoints, metrics
from service.collection import Collection, Query
from service.records import Records
from service.settings import Settings
from vlp.runtime.pictures import png
from vlp.runtime.predictor import Answer, Hit, ImageError, InputError, Predictor, SearchError
from vlp.runtime.threads import usable_processors

__all__ = ["Answer", "Model", "png"]
Result = TypeVar("Result")


class Model:
    """A bundle that is ready to answer.

    Args:
        settings: which bundle, which engine, which limits.

    Attributes:
        predictor: the opened bundle.
        collection: what ``retrieve`` searches.

    Raises:
        BundleError: the bundle cannot be opened.
        CollectionError: a picture of the collection cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        threads = max(1, usable_processors() // settings.workers)
        self.predictor = Predictor.open(
            settings.bundle,
            verify=False,  # the command has hashed the files, once for all workers
            threads=threads,
            runtime=settings.runtime,
            tolerance=settings.tolerance,
            batch=settings.batch,
            ran=metrics.ran,
        )
        # More pictures decoded at a time than there are cores would only take more memory.
        limits = {"max_bytes": settings.max_bytes, "max_pixels": settings.max_pixels}
        self.predictor.limit_images(**limits, at_once=threads)
        self.collection = Collection(self.predictor, settings)
        self._warm_up()
        self._records = None
        if settings.records is not None:
            self._records = Records(self.predictor.inputs.tokenizer, self.predictor.bundle.name)

    def run(self, name: str, size: int, call: Callable[[Predictor], Result]) -> Result:
        """One prediction for the endpoint ``name``.

        Args:
            name: of the endpoint.
            size: texts, or images, that it is about.
            call: what to ask the predictor.

        Raises:
            NotFound: the bundle lacks the endpoint's task.
            InvalidArgument: an image or a text is refused; the message says why.
        """
        task = endpoints.BY_NAME[name].task
        if task not in self.predictor.tasks:
            raise NotFound(f"/{name} needs the task {task!r}; this bundle holds {', '.join(self.predictor.tasks)}")
        begun = time.perf_counter()
        try:
            return call(self.predictor)
        except ImageError as error:
            raise InvalidArgument(f"image: {error}") from None
        except (InputError, SearchError) as error:
            raise InvalidArgument(str(error)) from None
        finally:
            metrics.PREDICTION_SECONDS.labels(task).observe(time.perf_counter() - begun)
            metrics.BATCH_SIZE.labels(task).observe(size)

    def match(self, image: bytes, texts: list[str]) -> list[Answer]:
        """As ``Predictor.match``, and recorded."""

        def ask(predictor: Predictor) -> list[Answer]:
            clean, pixels = predictor.inputs.cleaned(texts), predictor.inputs.pixels(image)
            answers: list[Answer] = predictor.task("matching").match_prepared(pixels, clean)
            if self._records is not None:
                self._records.add(pixels, clean, answers)
            return answers

        return self.run("match", len(texts), ask)

    def retrieve(
        self,
        image: bytes | None,
        texts: list[str],
        like: list[str],
        k: int,
        sent: tuple[bytes, bytes] | None,
    ) -> list[Hit]:
        """As ``Predictor.retrieve``, in the collection or in the index of the two files that were sent."""
        query = Query(image=image, texts=texts, like=like, k=k)
        if sent is None:
            return self.run("retrieve", 1, lambda _: self.collection.search(query))
        return self.run("retrieve", 1, lambda _: self.collection.search_sent(query, *sent))

    def close(self) -> None:
        """Write the records that still wait."""
        if self._records is not None:
            self._records.close()

    def _warm_up(self) -> None:
        """Ask every endpoint once, so that the first user waits no longer than the next ones."""
        Image.init()  # otherwise the first file that is no picture waits for every decoder to load
        out = io.BytesIO()
        Image.new("RGB", (64, 64), (127, 127, 127)).save(out, "PNG")
        for endpoint in endpoints.available(self.predictor.tasks):
            endpoint.warm(self.predictor, out.getvalue())
