from __future__ import annotations

import numpy as np
import pytest

from vlp.data.scenes.shapes import Shape, masks, patch, signed_distance
from vlp.data.scenes.world import SHAPES


def whole(shape: Shape, radius: float = 20.0, turn: float = 0.0) -> np.ndarray:
    return signed_distance(shape, slice(0, 64), slice(0, 64), 32, 32, radius, turn)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_outline_leaves_its_patch(shape: Shape) -> None:
    inside = np.argwhere(whole(shape, turn=12.0) < 0.5)
    rows, columns = patch(64, 32, 32, 20.0)
    assert rows.start <= inside[:, 0].min()
    assert inside[:, 0].max() < rows.stop
    assert columns.start <= inside[:, 1].min()
    assert inside[:, 1].max() < columns.stop


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [5.5, 9.5])
def test_things_are_wide_enough_to_survive_an_eight_by_eight_grid(shape: Shape, radius: float) -> None:
    (mask,) = masks(64, [(shape, 32, 32, radius, 0.0)])
    wide = np.flatnonzero(mask.any(axis=0))
    assert wide[-1] - wide[0] + 1 >= (9 if radius < 6 else 16)


def test_a_circle_has_the_area_of_a_circle() -> None:
    assert (whole("circle") < 0).sum() == pytest.approx(np.pi * 20**2, rel=0.02)


def test_a_ring_is_open_in_the_middle_and_a_circle_is_not() -> None:
    assert whole("ring")[32, 32] > 0
    assert whole("circle")[32, 32] < 0


def test_a_triangle_stands_on_its_base() -> None:
    widths = (whole("triangle") < 0).sum(axis=1)
    widths = widths[widths > 0]
    assert widths[0] < widths[len(widths) // 2] < widths[-1]


def test_a_star_has_five_points() -> None:
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    rows, columns = (32 + 17 * np.sin(angles)).astype(int), (32 + 17 * np.cos(angles)).astype(int)
    inside = whole("star")[rows, columns] < 0
    assert (inside & ~np.roll(inside, 1)).sum() == 5


def test_a_cross_is_the_union_of_two_bars() -> None:
    cross = whole("cross") < 0
    assert cross[32, 14]
    assert cross[14, 32]
    assert not cross[18, 18]


def test_distances_are_pixels() -> None:
    distance = whole("square", radius=20.0)
    assert distance[32, 32] == pytest.approx(0.5 - 20)
    assert distance[32, 60] - distance[32, 59] == pytest.approx(1.0)


def test_a_turn_of_a_quarter_turns_the_picture_clockwise() -> None:
    upright, turned = whole("triangle") < 0, whole("triangle", turn=90.0) < 0
    assert (np.rot90(upright, -1) != turned).sum() < 10


def test_every_two_shapes_differ_in_a_tenth_of_their_pixels_or_more_even_when_small() -> None:
    drawn = {shape: whole(shape, radius=5.5) < 0 for shape in SHAPES}
    for one in SHAPES:
        for two in SHAPES:
            if one != two:
                either = (drawn[one] | drawn[two]).sum()
                assert (drawn[one] ^ drawn[two]).sum() >= either / 10, (one, two)
