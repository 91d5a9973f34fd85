"""Which part of an image carries a score: occlusion, which needs nothing of a model but its answers.

A window is painted over with the image's mean colour, the score is taken again, and what it loses is laid on
the window's place. True of any graph, with no gradient and no torch.

Source: Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901, section 4.2
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vlp.records import Answer

CELLS = 12
"""G: the map's side. With windows of 3×3 cells, a quarter of the picture's side each."""
_REACH = 1
"""Cells on each side of a window's own that it covers: 3×3 in all."""
_AT_ONCE = 16
"""Occluded images scored together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """An answer about one image and text, and what of the image it rests on."""

    answer: Answer
    heat: np.ndarray
    """float32 [G, G], logits that the score loses on average when that part is hidden: above 0 speaks for
    the text, below 0 against it."""


def occlusion(
    pixels: np.ndarray, score: Callable[[np.ndarray], np.ndarray], cells: int = CELLS
) -> tuple[float, np.ndarray]:
    """The score of an image and its occlusion map.

    Args:
        pixels: uint8 [S, S, 3], S at least ``cells``.
        score: uint8 [B, S, S, 3] → float [B]; logits, since probabilities saturate.
        cells: G.

    Returns:
        The score of the whole image, and float32 [G, G].
    """
    edges = np.linspace(0, pixels.shape[0], cells + 1).round().astype(int)
    colour = pixels.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    hidden = np.repeat(pixels[None], cells * cells, axis=0)
    windows = [
        (slice(max(0, row - _REACH), row + _REACH + 1), slice(max(0, column - _REACH), column + _REACH + 1))
        for row in range(cells)
        for column in range(cells)
    ]
    for image, (rows, columns) in zip(hidden, windows, strict=True):
        image[_pixels(rows, edges), _pixels(columns, edges)] = colour
    whole = float(score(pixels[None])[0])
    lost = np.concatenate([whole - score(hidden[at : at + _AT_ONCE]) for at in range(0, len(hidden), _AT_ONCE)])
    total, covered = np.zeros((2, cells, cells))
    for loss, window in zip(lost, windows, strict=True):
        total[window] += loss
        covered[window] += 1
    return whole, (total / covered).astype(np.float32)


def _pixels(cells: slice, edges: np.ndarray) -> slice:
    return slice(edges[cells.start], edges[min(cells.stop, len(edges) - 1)])
