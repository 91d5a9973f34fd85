"""One window against the reference: a test a feature, corrected for their number, and a distance that must count.

Continuous features go through the two-sample Kolmogorov–Smirnov test, features with few values through the
chi-square test of their counts, which ties do not upset. The false discovery rate over the features is held at
``level`` (Benjamini and Hochberg): without any drift that is the share of windows with a false alarm. A distance
below ``effect`` is no violation however many records make it significant.

Sources: https://docs.scipy.org/doc/scipy/reference/generated/scipy.stats.ks_2samp.html,
https://docs.scipy.org/doc/scipy/reference/generated/scipy.stats.false_discovery_control.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vlp.drift.records import DriftError
from vlp.drift.settings import DriftParams
from vlp.runtime.served import Served

CONTINUOUS = ("red", "green", "blue", "contrast", "sharpness", "saturation", "score")
COUNTED = ("words", "unknown_share")
FEATURES = (*CONTINUOUS, *COUNTED)
SCORE = "score"

_LEAST_EXPECTED = 5.0  # of a cell, for chi-square to hold (Cochran 1954)
_BINS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """One feature of a window beside the reference."""

    name: str
    p: float
    """Corrected for the number of features."""
    distance: float
    """Largest difference of the cumulative distributions, or half the summed difference of the shares: 0 to 1."""
    reference: float
    """Its mean in the reference."""
    window: float
    """Its mean in the window."""
    violated: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """One window beside the reference."""

    features: tuple[Feature, ...]
    left_out: tuple[str, ...]
    """Features that could not be compared: the score of another bundle than the reference's."""

    @property
    def violated(self) -> tuple[str, ...]:
        """The features that drifted, farthest first."""
        found = sorted((each for each in self.features if each.violated), key=lambda each: (-each.distance, each.name))
        return tuple(each.name for each in found)


def compare(window: Sequence[Served], reference: Sequence[Served], params: DriftParams) -> Comparison:
    """Compare ``window`` with ``reference``, one row a request each.

    Scores are of a model: where the window was answered by a bundle that the reference does not know, they are left
    out, and pictures and texts are compared.

    Raises:
        DriftError: either side is empty.
    """
    if not window or not reference:
        raise DriftError(f"cannot compare {len(window)} served with {len(reference)} reference records")
    other = {row.bundle for row in window} - {row.bundle for row in reference}
    left_out = (SCORE,) if other else ()
    names = [name for name in FEATURES if name not in left_out]
    columns = {name: (values(reference, name), values(window, name)) for name in names}
    tested = [_counted(*columns[name]) if name in COUNTED else _continuous(*columns[name]) for name in names]
    corrected = stats.false_discovery_control([p for p, _ in tested], method="bh").tolist()
    features = tuple(
        Feature(
            name=name,
            p=p,
            distance=distance,
            reference=float(columns[name][0].mean()),
            window=float(columns[name][1].mean()),
            violated=p <= params.level and distance >= params.effect,
        )
        for name, p, (_, distance) in zip(names, corrected, tested, strict=True)
    )
    return Comparison(features, left_out)


def values(rows: Sequence[Served], name: str) -> np.ndarray:
    """One feature of every row, float64 [N]."""
    return np.array([getattr(row, name) for row in rows], dtype=np.float64)


def _continuous(reference: np.ndarray, window: np.ndarray) -> tuple[float, float]:
    """P and distance of the two-sample Kolmogorov–Smirnov test."""
    # The asymptotic p: the exact one is of no use at these sizes and warns where it gives up.
    found = stats.ks_2samp(reference, window, method="asymp")
    return float(found.pvalue), float(found.statistic)


def _counted(reference: np.ndarray, window: np.ndarray) -> tuple[float, float]:
    """P and distance of the chi-square test of the counts in the reference's own bins."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, _BINS + 1), method="inverted_cdf"))
    bins = [np.searchsorted(edges, side) for side in (reference, window)]
    counts = _merged(np.stack([np.bincount(some, minlength=len(edges) + 1) for some in bins]))
    if counts.shape[1] < 2:
        return 1.0, 0.0
    shares = counts / counts.sum(axis=1, keepdims=True)
    p = float(stats.chi2_contingency(counts, correction=False).pvalue)
    return p, float(np.abs(shares[0] - shares[1]).sum() / 2)


def _merged(counts: np.ndarray) -> np.ndarray:
    """Neighbouring bins joined until each is expected often enough on both sides: int [2, bins]."""
    share = counts.sum(axis=1).min() / counts.sum()
    joined: list[np.ndarray] = []
    for column in counts.T:
        if joined and joined[-1].sum() * share < _LEAST_EXPECTED:
            joined[-1] = joined[-1] + column
        else:
            joined.append(column)
    while len(joined) > 1 and joined[-1].sum() * share < _LEAST_EXPECTED:
        last = joined.pop()
        joined[-1] = joined[-1] + last
    return np.stack(joined, axis=1)
