"""Writing a picture's codes place by place, in numpy: the same chance and the same steps whatever computes them.

A model says what is likely at the next place, given the text and the places before; one code is drawn, and so on, row
by row. Guidance exaggerates what the text changes. Drawing is by the largest of logit plus noise, so that a seed is a
picture and nothing is summed up that could round differently on another machine.

Sources: writing codes and choosing among candidates, Ramesh et al. 2021, https://arxiv.org/abs/2102.12092; guidance,
Ho & Salimans 2022, https://arxiv.org/abs/2207.12598, of logits by Gafni et al. 2022, https://arxiv.org/abs/2203.13131;
drawing by the largest, Gumbel 1954, see Huijben et al. 2021, https://arxiv.org/abs/2110.01515; leaving out what is
unlikely beside the likeliest, Nguyen et al. 2024, https://arxiv.org/abs/2407.01082
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Step = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
"""``window``, ``place``, ``keys``, ``values``, ``seen`` → ``logits``, ``key``, ``value``, as of ``Prior.step``."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the model read of N texts: ``keys`` and ``values`` [layers, N, heads, L, d], ``seen`` int64 [N, L]."""

    keys: np.ndarray
    values: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True, slots=True)
class Canvas:
    """What is written on: ``grid`` rows and columns, and the margins that a window takes ``up`` and to each ``side``.

    ``codes``: how many there are; that number itself stands for what is outside or not yet written.
    """

    grid: int
    up: int
    side: int
    codes: int


def noise(seeds: Sequence[int], count: int, canvas: Canvas) -> np.ndarray:
    """Gumbel noise, float32 [seeds · count, places, codes]; by PCG64, the same anywhere.

    Args:
        seeds: not negative.
        count: pictures of each seed. The first ones do not depend on how many follow.
        canvas: gives places and codes.
    """
    generators = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
    shape = (count, canvas.grid**2, canvas.codes)
    return np.concatenate([-np.log(each.standard_exponential(shape, dtype=np.float32)) for each in generators])


def write(
    step: Step, told: Told, untold: Told | None, noise: np.ndarray, canvas: Canvas, *, guidance: float, least: float
) -> np.ndarray:
    """Write N pictures.

    Args:
        step: the model.
        told: its reading of N texts.
        untold: of N texts without words; None, which saves half of the work, only where ``guidance`` is 1.
        noise: as of ``noise``, [N, places, codes].
        canvas: what is written on.
        guidance: 1 is the model's own opinion with the text, more of it exaggerates what the text changes.
        least: share of the likeliest code's probability below which a code is never drawn.

    Returns:
        Codes int64 [N, grid, grid].
    """
    assert untold is not None or guidance == 1
    count, length = len(noise), told.seen.shape[1]
    sides = [told] if untold is None else [told, _longer(untold, length)]
    rows = count * len(sides)
    keys, values = (_memory([getattr(side, name) for side in sides], canvas) for name in ("keys", "values"))
    seen = np.ones((rows, length + canvas.grid**2), np.int64)
    seen[:, :length] = np.concatenate([side.seen for side in sides])
    page = np.full((count, canvas.grid + canvas.up, canvas.grid + 2 * canvas.side), canvas.codes, np.int64)
    for place in range(canvas.grid**2):
        row, column = divmod(place, canvas.grid)
        window = page[:, row : row + canvas.up + 1, column : column + 2 * canvas.side + 1]
        known = length + place
        found = step(
            {
                "window": np.concatenate([window] * len(sides)),
                "place": np.full(rows, place, np.int64),
                "keys": keys[:, :, :, :known],
                "values": values[:, :, :, :known],
                "seen": seen[:, :known],
            }
        )
        keys[:, :, :, known], values[:, :, :, known] = found["key"], found["value"]
        logits = found["logits"][:count]
        if len(sides) == 2:
            without = found["logits"][count:]
            logits = without + np.float32(guidance) * (logits - without)
        page[:, row + canvas.up, column + canvas.side] = _drawn(logits, noise[:, place], least)
    return page[:, canvas.up :, canvas.side : canvas.side + canvas.grid]


def _drawn(logits: np.ndarray, noise: np.ndarray, least: float) -> np.ndarray:
    """One code of each row of [N, K]: int64 [N]."""
    floor = logits.max(1, keepdims=True) + (np.log(np.float32(least)) if least > 0 else -np.inf)
    return np.asarray(np.where(logits >= floor, logits + noise, -np.inf).argmax(1))


def _longer(told: Told, length: int) -> Told:
    """The same with padding up to ``length`` tokens."""
    more = length - told.seen.shape[1]
    wide = [(0, 0), (0, 0), (0, 0), (0, more), (0, 0)]
    return Told(np.pad(told.keys, wide), np.pad(told.values, wide), np.pad(told.seen, [(0, 0), (0, more)]))


def _memory(texts: list[np.ndarray], canvas: Canvas) -> np.ndarray:
    """Texts [layers, N, heads, L, d] one after the other, with room for every place behind them."""
    layers, _, heads, length, size = texts[0].shape
    rows = sum(text.shape[1] for text in texts)
    memory = np.zeros((layers, rows, heads, length + canvas.grid**2, size), np.float32)
    np.concatenate(texts, axis=1, out=memory[:, :, :, :length])
    return memory


def pixels(levels: np.ndarray) -> np.ndarray:
    """Pictures uint8 [N, S, S, 3] of levels float32 [N, 3, S, S], −1 to 1 and cut off beyond."""
    rounded = np.rint((np.clip(levels, -1, 1) + 1) * np.float32(127.5)).astype(np.uint8)
    return np.ascontiguousarray(rounded.transpose(0, 2, 3, 1))
