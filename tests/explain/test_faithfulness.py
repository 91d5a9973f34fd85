"""A map that points at what counts beats orders by lot; one that does not, does not."""

from __future__ import annotations

import numpy as np
import pytest

from vlp.explain.faithfulness import STEPS, Faithfulness, Judge, _masks

SIZE, GRID = 32, 8


@pytest.fixture
def pixels() -> np.ndarray:
    """Black, with a bright square at rows and columns 8 to 15: the places (2, 2) to (3, 3) of the grid."""
    found = np.zeros((SIZE, SIZE, 3), np.uint8)
    found[8:16, 8:16] = 255
    return found


def faithfulness(pixels: np.ndarray, heat: np.ndarray, seed: int = 0) -> Faithfulness:
    return Judge(pixels, seed).judge(heat, bright)


def bright(images: np.ndarray) -> np.ndarray:
    """As sure as the square is to be seen."""
    return (images[:, 8:16, 8:16] == 255).mean((1, 2, 3))


def at(*places: tuple[int, int]) -> np.ndarray:
    heat = np.zeros((GRID, GRID), np.float32)
    for place in places:
        heat[place] = 1.0
    return heat


def test_the_map_of_the_very_square_is_believed(pixels: np.ndarray) -> None:
    found = faithfulness(pixels, at((2, 2), (2, 3), (3, 2), (3, 3)))
    # Gone after one step of sixteen, and back after one.
    assert found.deletion == pytest.approx(0.5 / STEPS) and found.insertion == pytest.approx(1 - 0.5 / STEPS)
    assert found.random_deletion == pytest.approx(0.5, abs=0.2)
    assert found.random_insertion == pytest.approx(0.5, abs=0.2)
    assert found.beaten == 1.0 and found.gain > 0.3


def test_the_map_of_everything_else_is_worse_than_by_lot(pixels: np.ndarray) -> None:
    found = faithfulness(pixels, 1 - at((2, 2), (2, 3), (3, 2), (3, 3)))
    assert found.beaten == 0.0 and found.gain < -0.3


def test_a_flat_map_is_an_order_by_lot(pixels: np.ndarray) -> None:
    gains = [faithfulness(pixels, np.ones((GRID, GRID)), seed).gain for seed in range(20)]
    assert abs(np.mean(gains)) < 0.1
    assert faithfulness(pixels, at((0, 0)), 3) == faithfulness(pixels, at((0, 0)), 3)


def test_places_go_one_after_the_other_until_none_is_left() -> None:
    order = np.random.default_rng(0).permutation(GRID * GRID)
    masks = _masks(order, (GRID, GRID), SIZE)
    assert masks.shape == (STEPS + 1, SIZE, SIZE)
    assert not masks[0].any() and masks[-1].all()
    assert (masks[1:] >= masks[:-1]).all()
    assert masks[1].sum() == 4 * (SIZE // GRID) ** 2
    odd = _masks(np.arange(9), (3, 3), 10)  # a size that the grid does not divide
    assert odd[-1].all() and (odd.reshape(STEPS + 1, -1).sum(1)[1:] >= odd.reshape(STEPS + 1, -1).sum(1)[:-1]).all()
