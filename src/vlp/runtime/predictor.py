"""Answers from a bundle, without torch: bytes and texts in, decisions out.

What goes into a graph passes through ``vlp.preprocessing``, by the parameters that the bundle carries,
exactly as the training data did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from vlp.preprocessing.image import ImageError
from vlp.records import Answer
from vlp.runtime import bundle as bundles
from vlp.runtime.bundle import Bundle, BundleError
from vlp.runtime.choice import Choice, Runtime
from vlp.runtime.explain import Explanation
from vlp.runtime.index import Hit, Index, SearchError
from vlp.runtime.inputs import InputError, Inputs
from vlp.runtime.opening import Ran, Running, open_tasks, unheard
from vlp.runtime.tasks.base import Answering

if TYPE_CHECKING:
    from vlp.runtime.tasks.segmentation import Segmentation

__all__ = ["Answer", "BundleError", "Hit", "ImageError", "Index", "InputError", "Predictor", "SearchError"]


class Predictor:
    """An opened bundle. Its methods may be called from several threads.

    Attributes:
        bundle: what was read.
        inputs: how images and texts are prepared.
        engines: what runs each graph, by ``<task>/<part>``, and why.
    """

    def __init__(
        self, bundle: Bundle, inputs: Inputs, answering: dict[str, Answering], engines: dict[str, Choice]
    ) -> None:
        self.bundle = bundle
        self.inputs = inputs
        self.engines = engines
        self._answering = answering

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        verify: bool = True,
        threads: int | None = None,
        runtime: Runtime = "onnxruntime",
        tolerance: float = 1e-4,
        batch: int = 1,
        ran: Ran = unheard,
    ) -> Self:
        """Open the bundle in ``folder`` and every graph of it.

        Args:
            folder: what the export stage wrote.
            verify: check every file's SHA-256 first.
            threads: of one call; by default what affinity and the control group's quota leave this process.
            runtime: the engine, or ``auto``: for each graph the fastest that agrees, measured on opening.
            tolerance: what another engine's outputs may differ from ONNX Runtime's by, as a share of the largest.
            batch: rows that calls of several threads may be answered by in one run; 1: each by itself.
            ran: told of each such run.

        Raises:
            BundleError: a file is missing, damaged or not what ``bundle.json`` says; the message names it. Or the
                engine asked for is not installed or not exact enough.
        """
        bundle = bundles.read(Path(folder), verify=verify)
        inputs = Inputs(bundle)
        return cls(bundle, inputs, *open_tasks(bundle, inputs, Running(threads, runtime, tolerance, batch, ran)))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks that this bundle answers."""
        return tuple(sorted(self._answering))

    def task(self, name: str) -> Any:
        """The ``Answers`` of one task: every way to ask it, prepared inputs included.

        Raises:
            BundleError: the bundle has no such task.
        """
        if name not in self._answering:
            raise BundleError(f"{self.bundle.folder}: no task {name!r}; it holds {', '.join(self.tasks) or 'none'}")
        return self._answering[name]

    def limit_images(self, *, max_bytes: int, max_pixels: int, at_once: int | None = None) -> None:
        """Refuse images above these, too: a service may allow less than the training data had.

        Args:
            max_bytes: of a file.
            max_pixels: width times height.
            at_once: images that are decoded at a time: a decoded one is many times its file's size.
        """
        self.inputs.limit_images(max_bytes=max_bytes, max_pixels=max_pixels, at_once=at_once)

    def match(self, image: bytes, texts: Sequence[str]) -> list[Answer]:
        """Is each text true of the image? The image is encoded once.

        Args:
            image: an image file's bytes.
            texts: statements, each judged by itself.

        Returns:
            One answer a text, in order: ``decision`` is ``true`` or ``false``, ``score`` the probability of true.

        Raises:
            ImageError: the image is refused.
            InputError: a text is refused.
            BundleError: the bundle has no matching task.
        """
        found: list[Answer] = self.task("matching").match(image, texts)
        return found

    def explain(self, image: bytes, text: str) -> Explanation:
        """Is the text true of the image, and which parts of the image say so? The map is over the whole picture.

        Args:
            image: an image file's bytes.
            text: one statement.

        Raises:
            ImageError: the image is refused.
            InputError: the text is refused.
            BundleError: the bundle has no matching task.
        """
        found: Explanation = self.task("matching").explain(image, text)
        return found

    def ask(self, image: bytes, question: str) -> Answer:
        """Answer a question about the image.

        Args:
            image: an image file's bytes.
            question: in the words of people.

        Returns:
            ``decision``: the likeliest of the answers that training knew; ``score`` its probability, ``scores`` all.

        Raises:
            ImageError: the image is refused.
            InputError: the question is refused.
            BundleError: the bundle has no vqa task.
        """
        found: Answer = self.task("vqa").ask(image, question)
        return found

    def classify(self, image: bytes | None = None, text: str | None = None) -> Answer:
        """Name the labels of an image, of a text, or of the two together: whichever the bundle was trained on.

        Args:
            image: an image file's bytes.
            text: a caption.

        Returns:
            ``decision``: the labels at or above their thresholds, the likeliest first, joined by ``", "``; empty where
            there is none. Where records have one label each, the likeliest. ``scores``: every label's probability;
            ``score`` that of the first.

        Raises:
            ImageError: the image is refused.
            InputError: the text is refused, or something is missing or not looked at.
            BundleError: the bundle has no classification task.
        """
        found: Answer = self.task("classification").classify(image, text)
        return found

    def segment(self, image: bytes, text: str) -> Segmentation:
        """Which pixels does the text name?

        Args:
            image: an image file's bytes.
            text: an expression ("the small red circle").

        Returns:
            The mask and the probabilities behind it, over the whole picture, each side divided in S (what a centre
            crop leaves out is not meant).

        Raises:
            ImageError: the image is refused.
            InputError: the text is refused.
            BundleError: the bundle has no segmentation task.
        """
        found: Segmentation = self.task("segmentation").segment(image, text)
        return found

    def generate(self, text: str, seed: int) -> np.ndarray:
        """A picture of what the text says.

        Args:
            text: a statement.
            seed: 0 or more; the same bundle, text and seed give the same picture.

        Returns:
            uint8 [S, S, 3].

        Raises:
            InputError: the text or the seed is refused.
            BundleError: the bundle has no generation task.
        """
        found: np.ndarray = self.task("generation").generate(text, seed)
        return found

    def caption(self, image: bytes) -> Answer:
        """Say what the image shows.

        Args:
            image: an image file's bytes.

        Returns:
            ``decision`` is the caption, ``score`` the geometric mean of its tokens' probabilities.

        Raises:
            ImageError: the image is refused.
            BundleError: the bundle has no captioning task.
        """
        found: Answer = self.task("captioning").caption(image)
        return found

    def embed_image(self, image: bytes) -> np.ndarray:
        """The image as a unit vector, float32 [W], comparable with texts' by a product.

        Raises:
            ImageError: the image is refused.
            BundleError: the bundle has no retrieval task.
        """
        found: np.ndarray = self.task("retrieval").embed_image(image)
        return found

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Each text as a unit vector, float32 [N, W].

        Raises:
            InputError: a text is refused.
            BundleError: the bundle has no retrieval task.
        """
        found: np.ndarray = self.task("retrieval").embed_text(texts)
        return found

    def index(
        self, images: Mapping[str, bytes] | None = None, texts: Mapping[str, Sequence[str]] | None = None
    ) -> Index:
        """Make a searchable index of images, of texts, or of things that have both.

        Args:
            images: image files' bytes by item.
            texts: what is said of an item, one or several texts, by item. An item in both is one thing: its
                vector points between its image's and its texts'.

        Raises:
            ImageError: an image is refused; the message names the item.
            InputError: a text is refused.
            SearchError: an item has neither.
            BundleError: the bundle has no retrieval task.
        """
        found: Index = self.task("retrieval").index(images or {}, texts or {}, self.bundle.embedder)
        return found

    def retrieve(
        self,
        index: Index,
        *,
        image: bytes | None = None,
        texts: Sequence[str] = (),
        like: Sequence[str] = (),
        k: int = 10,
        look: Callable[[str], bytes | None] | None = None,
    ) -> list[Hit]:
        """Search an index by an image, by texts, by items that were liked, or by any of them together.

        The best of a search by vectors are put in order by the fusion block where it can look at both sides: for an
        image alone, items that have texts; for texts alone, items whose images ``look`` can open.

        Args:
            index: made by ``index`` of the same bundle.
            image: an image file's bytes.
            texts: taken together as one description.
            like: ids of items of the index: a history. They are no answers.
            k: most answers.
            look: opens the image of an item by its id, for the second look; None of an item that has none, which then
                stands behind those that were looked at.

        Returns:
            At most ``k`` hits, best first.

        Raises:
            ImageError, InputError: the query, or the image or a text of an item that is looked at again, is refused;
                the message names the item.
            SearchError: there is no query, an id is unknown, or another model made the index.
            BundleError: the bundle has no retrieval task.
        """
        self.check_index(index)
        found: list[Hit] = self.task("retrieval").retrieve(index, image, texts, like, k, look)
        return found

    def check_index(self, index: Index) -> None:
        """Refuse an index whose vectors are not comparable with this bundle's.

        Raises:
            SearchError: another model made it, or its vectors are of another width than it says.
            BundleError: the bundle has no retrieval task.
        """
        if index.model != self.bundle.embedder:
            raise SearchError(f"the index was made by another model than bundle {self.bundle.name}; make it again")
        if index.vectors.shape[1] != (width := self.task("retrieval").width):
            raise SearchError(f"the index has vectors of width {index.vectors.shape[1]}, this bundle makes {width}")
