"""One metric by slice: by the kind of edit, the type of question, the source of a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

UNNAMED = "unnamed"
MOST = 200
"""Slices that are told one by one: the largest. Who has thousands of answers does not read as many lines."""


def by_slice(slices: Sequence[str], metric: Callable[[np.ndarray], float]) -> dict[str, dict[str, float | int]]:
    """The metric of each slice, beside the slice's size, so that a small slice is not read as a trend.

    Args:
        slices: each row's slice, [N]; rows without one (an empty name) are the slice ``unnamed``.
        metric: rows (int64 [n], rising) → the metric of those rows alone.

    Returns:
        ``{slice: {"value": …, "size": n}}`` by name. Of more than ``MOST`` slices the smallest are one, ``N more``.
    """
    return {name: {"value": float(metric(rows)), "size": len(rows)} for name, rows in rows_by_slice(slices).items()}


def rows_by_slice(slices: Sequence[str]) -> dict[str, np.ndarray]:
    """The rows of each slice, int64 [n], rising; slices and names as of ``by_slice``."""
    if not len(slices):
        return {}
    names, number = np.unique(np.asarray([name or UNNAMED for name in slices], dtype=object), return_inverse=True)
    sizes = np.bincount(number)
    each = np.split(np.argsort(number, kind="stable"), np.cumsum(sizes)[:-1])
    own, rest = largest(np.arange(len(names)), sizes)
    found = {str(names[place]): each[place] for place in own.tolist()}
    return found | ({more(len(rest)): np.sort(np.concatenate([each[place] for place in rest]))} if len(rest) else {})


def largest(places: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ``MOST`` places of largest size and the rest, both in the order given; of equal sizes the first stay."""
    chosen = np.zeros(len(places), bool)
    chosen[np.argsort(-sizes, kind="stable")[:MOST]] = True
    return places[chosen], places[~chosen]


def more(count: int) -> str:
    """What so many slices that are told together are called."""
    return f"{count} more"
