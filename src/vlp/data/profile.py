"""What a data set looks like in a few numbers, and how far one has drifted from another.

Every number is put on a fixed scale of steps (an eighth of a doubling), every word is one of the commonest or
*another*: a profile is a set of distributions over names. Two are compared by their Jensen–Shannon distance (Lin 1991,
https://doi.org/10.1109/18.61115), of which what chance alone would give is taken away: small data sets differ always.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from vlp.data.frames import Frames
    from vlp.data.validated import Contents

VOCABULARY = 1000
"""Words, labels and answers that a profile tells apart."""
_NUMBERS = {
    "records": ("width", "height", "file_bytes", "sharpness", "contrast", "saturation", "captions"),
    "captions": ("words",),
}
_NAMES = {"records": ("format", "mode"), "captions": ("script",)}
_OTHER = "(another)"

Distribution = dict[str, int]


def profile(frames: Frames, contents: Contents) -> dict[str, Any]:
    """The distributions of one data set: of its kept records, and of all words, labels and answers that it has."""
    found: dict[str, Distribution] = {}
    for table, columns in _NUMBERS.items():
        for column in columns:
            values = frames.named("kept" if table == "records" else table)[column].to_numpy(np.float64)
            steps, counts = np.unique(np.round(8 * np.log2(1 + values)).astype(int), return_counts=True)
            found[column] = {
                f"{2 ** (step / 8) - 1:.3g}": int(count) for step, count in zip(steps, counts, strict=True)
            }
    for table, columns in _NAMES.items():
        for column in columns:
            counted = frames.named("kept" if table == "records" else table)[column].value_counts()
            found[column] = {str(name): int(count) for name, count in sorted(counted.items()) if count}
    for name, said in (("word", contents.words), ("label", contents.labels), ("answer", contents.answers)):
        if said:
            found[name] = commonest(said)
    return {"records": len(frames.kept), "distributions": found}


def commonest(counts: Counter[str]) -> Distribution:
    """The commonest names with their counts; the others together."""
    kept = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:VOCABULARY])
    others = counts.total() - sum(kept.values())
    return kept | ({_OTHER: others} if others else {})


def drift(now: Mapping[str, Any], accepted: Mapping[str, Any]) -> list[tuple[str, float]]:
    """How far each distribution has moved, 0 to 1, beyond what chance does; those of one side only have moved by 1.

    Args:
        now: a ``profile``.
        accepted: another one.
    """
    ours, theirs = now["distributions"], accepted["distributions"]
    return [(name, distance(ours.get(name, {}), theirs.get(name, {}))) for name in sorted(ours.keys() | theirs.keys())]


def distance(one: Mapping[str, int], two: Mapping[str, int]) -> float:
    """Jensen–Shannon distance (base 2) of two counted distributions, less what two samples of one would have."""
    totals = sum(one.values()), sum(two.values())
    if not all(totals):
        return float(any(totals))  # of nothing nothing has moved
    names = sorted(one.keys() | two.keys())
    p, q = (_shares(counts, names, total) for counts, total in zip((one, two), totals, strict=True))
    middle = (p + q) / 2
    divergence = (_entropy(middle) - (_entropy(p) + _entropy(q)) / 2).item()
    chance = (len(names) - 1) / (8 * math.log(2)) * sum(1 / total for total in totals)  # its mean, for large samples
    return math.sqrt(max(0.0, divergence - chance))


def _shares(counts: Mapping[str, int], names: Iterable[str], total: int) -> np.ndarray:
    return np.array([counts.get(name, 0) / total for name in names])


def _entropy(shares: np.ndarray) -> np.ndarray:
    some = shares[shares > 0]
    return np.asarray(-(some * np.log2(some)).sum())
