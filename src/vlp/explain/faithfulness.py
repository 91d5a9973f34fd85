"""Can a map be believed? Its hottest places are taken away, or shown alone, one after the other.

If the map is right, the probability of what was said falls at once when they go (deletion), and is back soon when they
come (insertion); both are held against orders drawn at random, which a map that means nothing equals.

Source: Petsiuk et al. 2018 (RISE), https://arxiv.org/abs/1806.07421
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

STEPS = 16
RANDOM = 8


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """Areas under the probability over the share of places: ``deletion`` is better low, ``insertion`` high.

    ``random_deletion`` and ``random_insertion``: the means of ``RANDOM`` orders by lot. ``beaten``: the share of these
    that the map beats in both.
    """

    deletion: float
    insertion: float
    random_deletion: float
    random_insertion: float
    beaten: float

    @property
    def gain(self) -> float:
        """How much better than by lot, the mean of both: above 0, the map points at what counts."""
        return (self.random_deletion - self.deletion + self.insertion - self.random_insertion) / 2


def faithfulness(
    pixels: np.ndarray, heat: np.ndarray, probability: Callable[[np.ndarray], np.ndarray], seed: int = 0
) -> Faithfulness:
    """Judge one map.

    Args:
        pixels: uint8 [S, S, 3].
        heat: float [G, G], G at most S.
        probability: uint8 [B, S, S, 3] → float [B], of what was said of ``pixels``.
        seed: of the orders by lot.
    """
    rng = np.random.default_rng(seed)
    # Places of equal heat in any order: a map that is flat all over is an order by lot.
    order = np.lexsort((rng.random(heat.size), -heat.ravel()))
    orders = [order, *(rng.permutation(heat.size) for _ in range(RANDOM))]
    masks = np.concatenate([_masks(each, heat.shape, pixels.shape[0]) for each in orders])
    hidden = np.broadcast_to(pixels.reshape(-1, 3).mean(0).round().astype(np.uint8), pixels.shape)
    areas = []
    for away in (masks, ~masks):
        found = probability(np.where(away[..., None], hidden, pixels).astype(np.uint8))
        areas.append(np.asarray(found, np.float64).reshape(len(orders), STEPS + 1))
    deletion, insertion = (np.asarray(np.trapezoid(each, dx=1 / STEPS, axis=1)) for each in areas)
    beaten = (deletion[0] < deletion[1:]) & (insertion[0] > insertion[1:])
    return Faithfulness(
        deletion=float(deletion[0]),
        insertion=float(insertion[0]),
        random_deletion=float(deletion[1:].mean()),
        random_insertion=float(insertion[1:].mean()),
        beaten=float(beaten.mean()),
    )


def _masks(order: np.ndarray, shape: tuple[int, ...], size: int) -> np.ndarray:
    """Bool [STEPS + 1, S, S]: the first places of an order, none of them to all."""
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    rows, columns = (np.arange(size) * side // size for side in shape)
    of_pixel = rank.reshape(shape)[rows[:, None], columns[None, :]]
    counts = np.linspace(0, order.size, STEPS + 1).round()
    return np.asarray(of_pixel[None] < counts[:, None, None])
