"""Can a map be believed? Its hottest places are taken away, or shown alone, one after the other.

If the map is right, the probability of what was said falls at once when they go (deletion), and is back soon when they
come (insertion); both are held against orders drawn at random, which a map that means nothing equals.

Source: Petsiuk et al. 2018 (RISE), https://arxiv.org/abs/1806.07421
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


class Judge:
    """Judges maps of one picture.

    The pictures with places taken away by lot are made once for each size of map, and handed to ``probability`` as the
    very same arrays each time: who is asked about them again may remember its answer.

    Args:
        pixels: uint8 [S, S, 3].
        seed: of the orders by lot.
    """

    def __init__(self, pixels: np.ndarray, seed: int = 0) -> None:
        self._pixels, self._seed = pixels, seed
        self._hidden = np.broadcast_to(pixels.reshape(-1, 3).mean(0).round().astype(np.uint8), pixels.shape)
        self._by_lot: dict[tuple[int, ...], np.ndarray] = {}

    def judge(self, heat: np.ndarray, probability: Callable[[np.ndarray], np.ndarray]) -> Faithfulness:
        """One map.

        Args:
            heat: float [G, G], G at most S.
            probability: uint8 [B, S, S, 3] → float [B], of what was said of the picture.
        """
        rng = np.random.default_rng(self._seed)
        orders = [rng.permutation(heat.size) for _ in range(RANDOM)]
        if heat.shape not in self._by_lot:
            self._by_lot[heat.shape] = self._pictures(orders, heat.shape)
        # Places of equal heat in any order: a map that is flat all over is an order by lot.
        order = np.lexsort((rng.random(heat.size), -heat.ravel()))
        own = _areas(probability(self._pictures([order], heat.shape)))
        lot = _areas(probability(self._by_lot[heat.shape]))
        (deletion,), (insertion,) = own
        beaten = (deletion < lot[0]) & (insertion > lot[1])
        return Faithfulness(
            deletion=float(deletion),
            insertion=float(insertion),
            random_deletion=float(lot[0].mean()),
            random_insertion=float(lot[1].mean()),
            beaten=float(beaten.mean()),
        )

    def _pictures(self, orders: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        """Uint8 [2 · orders · (STEPS + 1), S, S, 3]: places taken away, then those alone."""
        masks = np.concatenate([_masks(order, shape, self._pixels.shape[0]) for order in orders])
        away = np.concatenate([masks, ~masks])[..., None]
        return np.where(away, self._hidden, self._pixels).astype(np.uint8)


def _areas(found: np.ndarray) -> np.ndarray:
    """Deletion and insertion, [2, orders], of the probabilities of ``Judge._pictures``."""
    curves = np.asarray(found, np.float64).reshape(2, -1, STEPS + 1)
    return np.asarray(np.trapezoid(curves, dx=1 / STEPS, axis=2))


def _masks(order: np.ndarray, shape: tuple[int, ...], size: int) -> np.ndarray:
    """Bool [STEPS + 1, S, S]: the first places of an order, none of them to all."""
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    rows, columns = (np.arange(size) * side // size for side in shape)
    of_pixel = rank.reshape(shape)[rows[:, None], columns[None, :]]
    counts = np.linspace(0, order.size, STEPS + 1).round()
    return np.asarray(of_pixel[None] < counts[:, None, None])
