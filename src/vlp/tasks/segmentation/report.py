"""What is told of masks beside their means: slices, rows, a histogram, pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlp.data.loading import Examples
from vlp.data.scenes.world import Scene, SceneError

SIZES = {"under 1 %": 0.0, "1 to 3 %": 0.01, "3 to 10 %": 0.03, "10 % and more": 0.1}
"""Slices by the share of the picture that a region covers, each from its lower bound."""
_BINS = 20


def size_slice(share: float) -> str:
    """The slice of a region that covers ``share`` of its picture."""
    return [name for name, least in SIZES.items() if share >= least][-1]


def object_counts(examples: Examples, rows: np.ndarray) -> list[str]:
    """How many things the picture of each row shows; unnamed (empty) where the data does not say."""
    annotations = examples.strings("annotation")
    counts = {row: _things(annotations[row]) for row in set(rows.tolist())}
    return [counts[row] for row in rows.tolist()]


def _things(annotation: str | None) -> str:
    try:
        return "" if annotation is None else str(len(Scene.from_json(annotation).things))
    except SceneError:  # another source's annotation, which says nothing of this
        return ""


def histogram(values: np.ndarray) -> list[dict[str, float]]:
    """Share of the regions by IoU, in bins of 0.05."""
    counts, edges = np.histogram(values, bins=_BINS, range=(0, 1))
    return [
        {"iou": float(edge), "share": float(count / len(values))} for edge, count in zip(edges, counts, strict=False)
    ]


def predictions(examples: Examples, rows: np.ndarray, found: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row a region: its record, its place among the record's regions, its expression and its measures."""
    ids, listed, place = examples.strings("id"), [], -1
    last = -1
    expressions: list[str] = []
    for number, row in enumerate(rows.tolist()):
        if row != last:
            place, last = -1, row
            expressions = [str(entry["expression"]) for entry in examples.values("regions", row)]
        place += 1
        measured = {name: float(found[name][number]) for name in ("iou", "pixel_accuracy", "boundary_f1")}
        listed.append({"record": ids[row], "region": place, "expression": expressions[place], **measured})
    return listed


def triptych(image: np.ndarray, target: np.ndarray, called: np.ndarray) -> np.ndarray:
    """The picture, what is meant and what was found, side by side; the rest of the picture dimmed.

    Args:
        image: uint8 [S, S, 3].
        target: bool [S, S].
        called: bool [S, S].

    Returns:
        uint8 [S, 3 · S, 3].
    """
    dimmed = [np.where(mask[..., None], image, image // 4) for mask in (target, called)]
    return np.concatenate([image, *dimmed], axis=1)
