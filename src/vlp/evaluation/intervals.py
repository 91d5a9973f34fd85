"""Bootstrap intervals by group: all rows of one image come and go together.

Rows about one image are not independent, so resampling rows would draw intervals too narrow; groups are
resampled instead (the cluster bootstrap). A resample is a vector of counts, how often each group was
drawn, so that a statistic is computed from weights, many resamples at once.

Source: Field & Welsh, Bootstrapping clustered data (2007), https://doi.org/10.1111/j.1467-9868.2007.00593.x
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Interval = tuple[float, float]
RESAMPLES = 1000
UNDEFINED = 0.05
"""The largest share of resamples without the statistic that an interval may pass over."""
_CELLS = 200_000  # weights held at once: they stay in a processor's cache, and the result is the same


class Bootstrap:
    """Resamples of the groups of N rows, drawn once and shared by every metric of those rows."""

    def __init__(self, groups: Sequence[str] | np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> None:
        """Draw the resamples.

        Args:
            groups: each row's group, [N].
            seed: same seed and groups, same intervals.
            resamples: how many; 1000 for a 95 % percentile interval.

        Raises:
            ValueError: no row, or no resample.
        """
        if not len(groups) or resamples < 1:
            raise ValueError(f"cannot resample {len(groups)} rows {resamples} times")
        names, self._rows = np.unique(np.asarray(groups), return_inverse=True)
        count = len(names)
        generator = np.random.default_rng(seed)
        self._counts = np.empty((resamples, count), dtype=np.float32)
        for resample in range(resamples):
            self._counts[resample] = np.bincount(generator.integers(count, size=count), minlength=count)

    def ratio(self, part: np.ndarray, whole: np.ndarray | None = None) -> Interval:
        """95 % interval of ``sum(part) / sum(whole)``, which a mean is too (``whole`` None), [N] each."""
        whole = np.ones(len(part)) if whole is None else whole
        for values in (part, whole):
            if len(values) != len(self._rows):
                raise ValueError(f"{len(values)} values for {len(self._rows)} resampled rows")
        groups = self._counts.shape[1]
        sums = [np.bincount(self._rows, weights=values, minlength=groups) for values in (part, whole)]
        parts, wholes = (self._counts.astype(np.float64) @ np.stack(sums, axis=1)).T
        return self._percentiles(np.divide(parts, wholes, out=np.full(len(parts), np.nan), where=wholes != 0))

    def weighted(self, statistic: Callable[[np.ndarray], np.ndarray]) -> Interval:
        """95 % interval of any statistic of row weights: ``statistic`` maps [R, N] to [R], R as it comes."""
        return self.weighted_each(lambda weights: {"": statistic(weights)})[""]

    def weighted_each(self, statistics: Callable[[np.ndarray], dict[str, np.ndarray]]) -> dict[str, Interval]:
        """95 % intervals of several statistics that share their work: [R, N] → [R] by name."""
        step = max(1, _CELLS // len(self._rows))
        chunks = [
            statistics(self._counts[start : start + step, self._rows]) for start in range(0, len(self._counts), step)
        ]
        return {name: self._percentiles(np.concatenate([chunk[name] for chunk in chunks])) for name in chunks[0]}

    def _percentiles(self, values: np.ndarray) -> Interval:
        """The middle 95 % of the resamples; NaN where nothing can be said.

        A few may be without the statistic. More than ``UNDEFINED`` of them, and the others are not what chance gives,
        but what it gives where the rare case happens to be drawn: with one true row, that row every time.
        """
        defined = values[np.isfinite(values)]
        # One group resamples to itself: that would read as certainty, and is ignorance.
        if len(defined) < (1 - UNDEFINED) * len(values) or self._counts.shape[1] < 2:
            return (float("nan"), float("nan"))
        low, high = np.percentile(defined, [2.5, 97.5])
        return (float(low), float(high))
