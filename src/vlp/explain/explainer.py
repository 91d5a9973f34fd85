"""Trained tasks asked about a picture and a text: what they say, and a ``Subject`` of it to explain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlp import plugins
from vlp.data.loading import Prepared
from vlp.explain import maps, overlay, subjects
from vlp.explain.faithfulness import Faithfulness, Judge
from vlp.explain.methods import Method
from vlp.explain.subjects import Subject
from vlp.params import load_section
from vlp.preprocessing import image as images
from vlp.preprocessing import text as texts
from vlp.runtime.inputs import InputError


@dataclass(frozen=True, slots=True)
class Said:
    """What a task said of a picture: the answer ``said`` at a ``score`` of 0–1, and what can be explained of it."""

    said: str
    score: float
    subjects: tuple[Subject, ...]


@dataclass(frozen=True, slots=True)
class Explained:
    """One subject's map, float32 [G, G], and whether it can be believed."""

    said: str
    heat: np.ndarray
    faithful: Faithfulness


class Explainer:
    """Trained tasks, opened as they are asked for.

    Args:
        tasks: the folder of trained tasks.
        prepared: what the preprocess stage wrote: tokenizer and numbers.
        params: the file of the parameters that it was prepared with.
    """

    def __init__(self, tasks: Path, prepared: Path, params: Path) -> None:
        self._folder = tasks
        self._prepared = Prepared(prepared)
        self._image = load_section("image", images.ImageParams, params)
        self._text = load_section("text", texts.TextParams, params)
        self.tokenizer = texts.load_tokenizer(prepared / "tokenizer" / "tokenizer.json")
        self._opened: dict[str, Any] = {}

    def task(self, name: str) -> Any:
        """A trained task in eval mode.

        Raises:
            OSError: it has not been trained.
        """
        if name not in self._opened:
            if not (self._folder / name).is_dir():
                raise OSError(f"{self._folder / name}: no such folder; train the task first: dvc repro finetune@{name}")
            task = plugins.find("vlp.tasks", name).Task.load(self._folder / name, self._prepared)
            self._opened[name] = task.eval().requires_grad_(False)
        return self._opened[name]

    def pixels(self, image: bytes) -> np.ndarray:
        """An image file's bytes → uint8 [S, S, 3].

        Raises:
            ImageError: the image is refused.
        """
        return images.prepare(image, self._image).pixels

    def ids(self, text: str) -> np.ndarray:
        """A text's tokens, int64 [L].

        Raises:
            InputError: the text is refused.
        """
        if problem := texts.problem(text, self._text):
            raise InputError(problem)
        return np.array(texts.encode(self.tokenizer, [texts.clean(text)], self._text)[0], np.int64)

    def match(self, pixels: np.ndarray, text: str) -> Said:
        """Is the text true of the picture? Explained is that it is."""
        task = self.task("matching")
        subject = subjects.statement(task, self.ids(text))
        score = float(subject.probability(pixels[None])[0])
        return Said("true" if score >= task.decision["threshold"] else "false", score, (subject,))

    @torch.no_grad()
    def ask(self, pixels: np.ndarray, question: str) -> Said:
        """What is the answer? Explained is that it is this one."""
        task = self.task("vqa")
        ids = torch.from_numpy(self.ids(question))[None]
        logits = task.logits(task.model.encode_image(subjects.pictures(pixels[None])), ids, torch.ones_like(ids))
        subject = subjects.answer(task, ids[0].numpy(), int(logits.argmax()))
        return Said(subject.said, float(subject.probability(pixels[None])[0]), (subject,))

    @torch.no_grad()
    def caption(self, pixels: np.ndarray) -> Said:
        """What does the picture show? Explained is each token but the one that ends the caption.

        That one counts in the score, as it does in the bundle's (``vlp.runtime.tasks.captioning``).
        """
        task = self.task("captioning")
        grid = task.model.image_encoder(subjects.pictures(pixels[None])).tokens
        ids = task.generate(grid)[0].tolist()
        written = ids[: ids.index(task.end_id)] if task.end_id in ids else ids
        read = [*written, task.end_id] if task.end_id in ids else written
        names = [str(self.tokenizer.id_to_token(token)) for token in read]
        found = subjects.words(task, np.array([task.begin_id, *read]), names) if read else []
        sure = [float(subject.probability(pixels[None])[0]) for subject in found]
        score = float(np.exp(np.mean(np.log(sure)))) if sure else 0.0
        return Said(texts.decode(self.tokenizer, written), score, tuple(found[: len(written)]))


def explained(said: Said, pixels: np.ndarray, method: Method, judge: Judge | None = None) -> list[Explained]:
    """Each subject's map, judged.

    Args:
        said: of the picture.
        pixels: uint8 [S, S, 3].
        method: how.
        judge: of the picture; one for several methods saves the places by lot.

    Raises:
        ExplainError: the model has no such map.
    """
    judge = judge or Judge(pixels)
    heats = [maps.heat(subject, pixels, method) for subject in said.subjects]
    with torch.no_grad():
        judged = [judge.judge(heat, each.probability) for heat, each in zip(heats, said.subjects, strict=True)]
    found = zip(said.subjects, heats, judged, strict=True)
    return [Explained(subject.said, heat, faithful) for subject, heat, faithful in found]


def picture(found: list[Explained], pixels: np.ndarray) -> np.ndarray:
    """One overlay, or for the words of a caption a strip that begins with the picture itself: uint8 [H, W, 3]."""
    if len(found) == 1:
        return overlay.overlay(pixels, found[0].heat)
    tiles = [("", pixels), *((each.said, overlay.overlay(pixels, each.heat, 256)) for each in found)]
    return overlay.strip(tiles)
