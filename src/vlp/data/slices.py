"""What metrics are sliced by: how many things a picture shows, how long a text is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlp.data.loading import Examples
from vlp.data.scenes.world import Scene, SceneError
from vlp.preprocessing.text import words


def object_counts(examples: Examples, rows: Iterable[int] | None = None) -> list[str]:
    """How many things the picture of each row shows; unnamed (empty) where the data does not say.

    Args:
        examples: the split.
        rows: which rows, each as often as wanted; all of them once if None.
    """
    chosen = range(len(examples)) if rows is None else [int(row) for row in rows]
    annotations = examples.strings("annotation")
    counts = {row: _things(annotations[row]) for row in set(chosen)}
    return [counts[row] for row in chosen]


def _things(annotation: str | None) -> str:
    try:
        return "" if annotation is None else str(len(Scene.from_json(annotation).things))
    except SceneError:  # another source's annotation, which says nothing of this
        return ""


def word_counts(texts: Sequence[str]) -> list[str]:
    """How many words each text has, in two digits: sorted by name is sorted by length."""
    return [f"{words(text):02d}" for text in texts]
