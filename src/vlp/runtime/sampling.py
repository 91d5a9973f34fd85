"""Telling a picture word by word, in numpy: the same chance and the same steps whatever computes them.

A model says what is likely to be the next word, given the text and the words before; one is drawn, and so on. Guidance
exaggerates what the text changes. Drawing is by the largest of logit plus noise, so that a seed is a picture and
nothing is summed up that could round differently on another machine.

Sources: guidance, Ho & Salimans 2022, https://arxiv.org/abs/2207.12598, of logits by Gafni et al. 2022,
https://arxiv.org/abs/2203.13131; drawing by the largest, Gumbel 1954, see Huijben et al. 2021,
https://arxiv.org/abs/2110.01515
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Step = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
"""``word``, ``place``, ``keys``, ``values``, ``seen`` → ``logits``, ``key``, ``value``, as of ``Prior.step``."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the model read of N texts: ``keys`` and ``values`` [layers, N, heads, L, d], ``seen`` int64 [N, L]."""

    keys: np.ndarray
    values: np.ndarray
    seen: np.ndarray


def noise(seeds: Sequence[int], count: int, places: int, words: int) -> np.ndarray:
    """Gumbel noise, float32 [seeds · count, places, words]; by PCG64, the same anywhere.

    Args:
        seeds: not negative.
        count: pictures of each seed. The first ones do not depend on how many follow.
        places: words of one picture.
        words: different ones.
    """
    generators = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
    waits = np.concatenate([each.standard_exponential((count, places, words), dtype=np.float32) for each in generators])
    return np.asarray(-np.log(np.maximum(waits, np.finfo(np.float32).tiny)))


def tell(step: Step, told: Told, untold: Told | None, noise: np.ndarray, *, guidance: float) -> np.ndarray:
    """Tell N pictures.

    Args:
        step: the model.
        told: its reading of N texts.
        untold: of N texts without words; None, which saves half of the work, only where ``guidance`` is 1.
        noise: as of ``noise``, [N, places, words].
        guidance: 1 is the model's own opinion with the text, more of it exaggerates what the text changes.

    Returns:
        Words int64 [N, places].
    """
    assert untold is not None or guidance == 1
    (count, places, words), length = noise.shape, told.seen.shape[1]
    sides = [told] if untold is None else [told, _longer(untold, length)]
    keys, values = (_memory([getattr(side, name) for side in sides], places) for name in ("keys", "values"))
    seen = np.ones((count * len(sides), length + places), np.int64)
    seen[:, :length] = np.concatenate([side.seen for side in sides])
    sentence = np.full((count, places + 1), words, np.int64)
    for place in range(places):
        known = length + place
        found = step(
            {
                "word": np.concatenate([sentence[:, place]] * len(sides)),
                "place": np.full(len(seen), place, np.int64),
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
        sentence[:, place + 1] = (logits + noise[:, place]).argmax(1)
    return sentence[:, 1:]


def _longer(told: Told, length: int) -> Told:
    """The same with padding up to ``length`` tokens."""
    more = length - told.seen.shape[1]
    wide = [(0, 0), (0, 0), (0, 0), (0, more), (0, 0)]
    return Told(np.pad(told.keys, wide), np.pad(told.values, wide), np.pad(told.seen, [(0, 0), (0, more)]))


def _memory(texts: list[np.ndarray], places: int) -> np.ndarray:
    """Texts [layers, N, heads, L, d] one after the other, with room for every place behind them."""
    layers, _, heads, length, size = texts[0].shape
    rows = sum(text.shape[1] for text in texts)
    memory = np.zeros((layers, rows, heads, length + places, size), np.float32)
    np.concatenate(texts, axis=1, out=memory[:, :, :, :length])
    return memory


def pixels(levels: np.ndarray) -> np.ndarray:
    """Pictures uint8 [N, S, S, 3] of levels float32 [N, 3, S, S], −1 to 1 and cut off beyond."""
    rounded = np.rint((np.clip(levels, -1, 1) + 1) * np.float32(127.5)).astype(np.uint8)
    return np.ascontiguousarray(rounded.transpose(0, 2, 3, 1))
