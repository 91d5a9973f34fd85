"""What is told of masks beside their means: slices, rows, a histogram, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vlp.data.loading import Examples
from vlp.data.slices import object_counts, word_counts
from vlp.evaluation.intervals import Bootstrap
from vlp.evaluation.slices import by_slice

SIZES = {"under 1 %": 0.0, "1 to 3 %": 0.01, "3 to 10 %": 0.03, "10 % and more": 0.1}
"""Slices by the share of the picture that a region covers, each from its lower bound."""
_BINS = 20


def figures(
    test: Examples,
    row: np.ndarray,
    found: dict[str, np.ndarray],
    blind: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Means with 95 % intervals by group, the floors beside them, and mIoU by slice.

    Args:
        test: the split.
        row: int64 [M], whose region each is.
        found: the measures of each region by name, [M] each.
        blind: rows and IoU of regions that were found without their words.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """
    groups = np.array(test.strings("group"))
    bootstrap = Bootstrap(groups[row], seed=seed, resamples=resamples)
    blind_row, blind_iou = (np.concatenate(parts) for parts in zip(*blind, strict=True))
    each = {
        "miou": found["iou"],
        "pixel_accuracy": found["pixel_accuracy"],
        "boundary_f1": found["boundary_f1"],
        "precision_at_50": (found["iou"] >= 0.5).astype(np.float64),
        "saliency_miou": found["saliency_iou"],
        "all_background_pixel_accuracy": 1 - found["share"],
    }
    metrics: dict[str, Any] = {name: float(values.mean()) for name, values in each.items()}
    metrics |= {f"{name}_ci95": list(bootstrap.ratio(values)) for name, values in each.items()}
    metrics["text_blind_miou"] = float(blind_iou.mean())
    metrics["text_blind_miou_ci95"] = list(
        Bootstrap(groups[blind_row], seed=seed, resamples=resamples).ratio(blind_iou)
    )
    expressions = {
        index: [str(each["expression"]) for each in test.values("regions", index)] for index in set(row.tolist())
    }
    slices = {
        "size": [size_slice(share) for share in found["share"].tolist()],
        "objects": object_counts(test, row.tolist()),
        "words": word_counts([text for index in dict.fromkeys(row.tolist()) for text in expressions[index]]),
    }
    return metrics | {
        f"miou_by_{name}": by_slice(names, lambda rows: float(found["iou"][rows].mean()))
        for name, names in slices.items()
    }


def size_slice(share: float) -> str:
    """The slice of a region that covers ``share`` of its picture."""
    return [name for name, least in SIZES.items() if share >= least][-1]


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
