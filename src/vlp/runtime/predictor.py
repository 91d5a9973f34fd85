"""Answers from a bundle, without torch: bytes and texts in, decisions out.

What goes into a graph passes through ``vlp.preprocessing``, by the parameters that the bundle carries,
exactly as the training data did.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from vlp import plugins
from vlp.preprocessing.image import ImageError
from vlp.records import Answer
from vlp.runtime import bundle as bundles
from vlp.runtime.bundle import Bundle, BundleError
from vlp.runtime.choice import Choice, Runtime, open_graph
from vlp.runtime.explain import Explanation
from vlp.runtime.inputs import InputError, Inputs
from vlp.runtime.tasks.base import Answering
from vlp.runtime.threads import usable_processors

__all__ = ["Answer", "BundleError", "ImageError", "InputError", "Predictor"]

TASKS = "vlp.runtime.tasks"


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
        threads: int | None = None,
        verify: bool = True,
        runtime: Runtime = "onnxruntime",
        tolerance: float = 1e-4,
    ) -> Self:
        """Open the bundle in ``folder`` and every graph of it.

        Args:
            folder: what the export stage wrote.
            threads: of one call; by default what affinity and the control group's quota leave this process.
            verify: check every file's SHA-256 first.
            runtime: the engine, or ``auto``: for each graph the fastest that agrees, measured on opening.
            tolerance: what another engine's outputs may differ from ONNX Runtime's by, as a share of the largest.

        Raises:
            BundleError: a file is missing, damaged or not what ``bundle.json`` says; the message names it. Or the
                engine asked for is not installed or not exact enough.
        """
        bundle = bundles.read(Path(folder), verify=verify)
        inputs = Inputs(bundle)
        threads = usable_processors() if threads is None else threads
        answering: dict[str, Answering] = {}
        engines: dict[str, Choice] = {}
        for name, task in bundle.tasks.items():
            try:
                plugin = plugins.find(TASKS, name)
            except plugins.UnknownPluginError as error:
                raise BundleError(f"{bundle.folder}: a task that this version cannot answer ({error})") from None
            graphs = {}
            for key, part in task.parts.items():
                graphs[key], engines[f"{name}/{key}"] = open_graph(
                    bundle.path(part.file), part, threads, runtime, tolerance
                )
            answering[name] = plugin.Answers(inputs, task, graphs)
        return cls(bundle, inputs, answering, engines)

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

    def limit_images(self, *, max_bytes: int, max_pixels: int) -> None:
        """Refuse images above these, too: a service may allow less than the training data had.

        Args:
            max_bytes: of a file.
            max_pixels: width times height.
        """
        self.inputs.limit_images(max_bytes=max_bytes, max_pixels=max_pixels)

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
        """Is the text true of the image, and which parts of the image say so?

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
