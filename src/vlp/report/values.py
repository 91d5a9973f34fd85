"""Parameters and metrics of two commits, name by name: what changed, by how much, and is that better or worse."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

INTERVAL = "_ci95"
"""A metric ``x`` has its 95 % interval, ``[low, high]``, beside it as ``x_ci95``."""

Direction = Literal["higher", "lower"]
Interval = tuple[float, float]

# What is reached without a picture, without a text or without a model. A figure beside it is worth the more the lower
# it is, and one that rises by itself says of the data, not of the model.
_FLOOR = re.compile(
    r"^(text_only|image_only|question_only|question_prior|blank|text_blind|all_background|saliency|majority|most_common|random|"
    r"nearest)(_|$)"
)
# By the names of the metrics contract, first match wins. What is in neither list says what was measured on
# (sizes, steps, a threshold, a base rate), and is neither good nor bad.
_NEUTRAL = re.compile(r"base_rate|threshold")
_LOWER = re.compile(
    r"_loss$|^loss$|^max_abs_diff$|_drop$|^latency_|median_rank$|^reject_share$|^rejected$|^critical_failures$|"
    r"^warnings$|_seconds$|_ms(_|$)|^bytes$|^peak_|_memory_|perplexity|error_rate|_error$|^ece$|^false_alarm_share$"
)
_HIGHER = re.compile(
    r"accuracy|precision|recall|f1$|roc_auc|_r\d+$|cider|bleu|iou$|overlap$|looked_there|ranked_right|"
    r"(?:faithful|informative)_share|matching_score|per_second$|^speedup|^rouge|^cross_validation$"
)


def direction(name: str) -> Direction | None:
    """Which way the metric ``name`` (dotted) gets better; None for what is neither good nor bad.

    A leaf called ``value``, ``mean`` or ``pooled`` is judged by what it is the value of:
    ``accuracy_by_kind.count.value`` is an accuracy, ``accuracy_by_kind.count.size`` is not.
    """
    if any(_FLOOR.match(part) for part in name.split(".")):
        return None
    *parents, leaf = name.split(".")
    if leaf in ("value", "mean", "pooled"):
        leaf = next((part for part in parents if "_by_" in part), parents[-1] if parents else leaf)
        leaf = leaf.split("_by_")[0]
    if _NEUTRAL.search(leaf):
        return None
    if _LOWER.search(leaf):
        return "lower"
    return "higher" if _HIGHER.search(leaf) else None


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names; lists stay whole, an empty mapping is a value."""
    if not isinstance(value, Mapping) or (not value and prefix):
        return {prefix: value}
    return {
        name: leaf
        for key, item in value.items()
        for name, leaf in flat(item, f"{prefix}.{key}" if prefix else str(key)).items()
    }


@dataclass(frozen=True, slots=True)
class Change:
    """One value on both sides. ``ABSENT`` where a side has none."""

    name: str
    old: Any
    new: Any

    @property
    def is_same(self) -> bool:
        """Equal on both sides, and of one type: 1 is not true."""
        return type(self.old) is type(self.new) and self.old == self.new


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Every name of either side, sorted; the same ones too."""
    before, after = flat(old), flat(new)
    return [Change(name, before.get(name, ABSENT), after.get(name, ABSENT)) for name in sorted({*before, *after})]


@dataclass(frozen=True, slots=True)
class Metric(Change):
    """One metric on both sides, with the intervals it carries."""

    old_interval: Interval | None
    new_interval: Interval | None

    @property
    def by(self) -> float | int | None:
        """New minus old; None where a side has no number."""
        return self.new - self.old if _is_number(self.old) and _is_number(self.new) else None

    @property
    def judgement(self) -> Literal["better", "worse", ""]:
        """Which way it went, by its own direction; empty where it has none, or did not go."""
        way, by = direction(self.name), self.by
        if way is None or not by:
            return ""
        return "better" if (by > 0) == (way == "higher") else "worse"

    @property
    def is_lost(self) -> bool:
        """A number before, and none now: gone, or not defined any more."""
        return _is_number(self.old) and not _is_number(self.new)

    @property
    def is_beyond(self) -> bool | None:
        """Each side's value lies outside the other's interval; None where a side has none."""
        if self.by is None or self.old_interval is None or self.new_interval is None:
            return None
        return _outside(self.old, self.new_interval) and _outside(self.new, self.old_interval)


def metrics(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Metric]]:
    """The metrics of every file of either side, by path, each with its intervals."""
    found: dict[str, list[Metric]] = {}
    for path in sorted({*old, *new}):
        before, after = flat(old.get(path, {})), flat(new.get(path, {}))
        names = sorted({*before, *after})
        found[path] = [
            Metric(
                name,
                before.get(name, ABSENT),
                after.get(name, ABSENT),
                _interval(before.get(name + INTERVAL)),
                _interval(after.get(name + INTERVAL)),
            )
            for name in names
            if not (name.endswith(INTERVAL) and name.removesuffix(INTERVAL) in names)
        ]
    return found


def label(path: str) -> str:
    """A metrics file's short name: ``metrics/timing/pretrain.json`` is ``timing/pretrain``."""
    return PurePosixPath(path).with_suffix("").as_posix().removeprefix("metrics/")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _interval(value: Any) -> Interval | None:
    if isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)):
        return float(value[0]), float(value[1])
    return None


def _outside(value: float, interval: Interval) -> bool:
    return not interval[0] <= value <= interval[1]
