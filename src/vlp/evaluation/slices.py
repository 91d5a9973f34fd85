"""One metric by slice: by the kind of edit, the type of question, the source of a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

UNNAMED = "unnamed"


def by_slice(slices: Sequence[str], metric: Callable[[np.ndarray], float]) -> dict[str, dict[str, float | int]]:
    """The metric of each slice, beside the slice's size, so that a small slice is not read as a trend.

    Args:
        slices: each row's slice, [N]; rows without one (an empty name) are the slice ``unnamed``.
        metric: rows (int64 [n], rising) → the metric of those rows alone.

    Returns:
        ``{slice: {"value": …, "size": n}}`` by name.
    """
    names = np.asarray([name or UNNAMED for name in slices], dtype=object)
    found: dict[str, dict[str, float | int]] = {}
    for name in sorted(set(names.tolist())):
        rows = np.flatnonzero(names == name)
        found[name] = {"value": float(metric(rows)), "size": len(rows)}
    return found
