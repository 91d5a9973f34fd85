"""Sampling from a flow, in plain numpy: the same noise and the same steps whatever computes the velocity.

A flow carries noise (time 0) to data (time 1) along its velocity; Euler's method follows it in equal steps. Guidance
pushes the velocity away from what the model would do without the text.

Sources: rectified flow, Liu et al. 2022, https://arxiv.org/abs/2209.03003; flow matching, Lipman et al. 2022,
https://arxiv.org/abs/2210.02747; classifier-free guidance, Ho & Salimans 2022, https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Velocity = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(points [N, …], times [N]) → the velocity there with the text and without it, shaped as the points."""


def noise(seeds: Sequence[int], count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal points, float32 [seeds · count, *shape], ``count`` of each seed; by PCG64, the same anywhere.

    Args:
        seeds: not negative.
        count: points of each seed. The first ones do not depend on how many follow.
        shape: of one point.
    """
    generators = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
    return np.concatenate([each.standard_normal((count, *shape), dtype=np.float32) for each in generators])


def euler(velocity: Velocity, points: np.ndarray, *, steps: int, guidance: float) -> np.ndarray:
    """Follow the flow from noise to data.

    Args:
        velocity: of the flow.
        points: noise, float32 [N, …].
        steps: equal steps from time 0 to 1.
        guidance: 1 is the model's own velocity with the text, more of it exaggerates what the text changes.

    Returns:
        float32 [N, …].
    """
    size = np.float32(1 / steps)
    for step in range(steps):
        times = np.full(len(points), step / steps, dtype=np.float32)
        told, untold = velocity(points, times)
        points = points + size * (untold + np.float32(guidance) * (told - untold))
    return points


def pixels(points: np.ndarray) -> np.ndarray:
    """Pictures uint8 [N, S, S, 3] of data points float32 [N, 3, S, S], −1 to 1 and cut off beyond."""
    levels = np.rint((np.clip(points, -1, 1) + 1) * np.float32(127.5)).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))
