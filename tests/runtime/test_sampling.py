"""Sampling, on flows whose end is known."""

from __future__ import annotations

import numpy as np
import pytest

from vlp.runtime import sampling


def test_noise_hangs_on_the_seed_alone() -> None:
    both = sampling.noise([4, 5], 2, (3, 2, 2))
    assert both.shape == (4, 3, 2, 2) and both.dtype == np.float32
    assert np.array_equal(both[2:], sampling.noise([5], 2, (3, 2, 2)))
    assert np.array_equal(both[:1], sampling.noise([4], 1, (3, 2, 2))), "the first does not depend on how many follow"
    assert not np.array_equal(both[0], both[1])


def test_a_straight_flow_arrives_in_any_number_of_steps() -> None:
    start, target = sampling.noise([1], 3, (2,)), np.float32(5)

    def velocity(points: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        towards = (target - points) / (1 - times[:, None])
        return towards, towards

    for steps in (1, 2, 7):
        assert sampling.euler(velocity, start, steps=steps, guidance=3.0) == pytest.approx(
            np.full((3, 2), 5.0), abs=1e-5
        )


def test_guidance_exaggerates_what_the_text_changes() -> None:
    start = np.zeros((1, 2), np.float32)

    def velocity(points: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full_like(points, 3.0), np.full_like(points, 1.0)

    for guidance, end in ((0.0, 1.0), (1.0, 3.0), (2.0, 5.0)):
        assert sampling.euler(velocity, start, steps=4, guidance=guidance) == pytest.approx(np.full((1, 2), end))


def test_points_become_levels_and_are_cut_off_beyond() -> None:
    points = np.array([-2.0, -1.0, 0.0, 1.0, 2.0], np.float32).reshape(1, 1, 1, 5).repeat(3, axis=1)
    found = sampling.pixels(points)
    assert found.dtype == np.uint8 and found.shape == (1, 1, 5, 3)
    assert found[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]
