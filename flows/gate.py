"""May the challenger replace the champion? Pure functions of what the two were measured to say about the same records.

Both answered the test split of their own run. It is a stable hash of groups, so that data which grows adds test records
and moves none: the two are compared on the records that both answered, pair by pair, and the intervals are the paired
bootstrap's, by record (all rows of one record come and go together). A champion's test record that is *not* in the
challenger's test split may have been trained on, which is refused as a leak.

Source: Field & Welsh, Bootstrapping clustered data (2007), https://doi.org/10.1111/j.1467-9868.2007.00593.x
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flows.settings import Gate, GatedMetric

SEED = 20
TEXT_ONLY = "text_only_hard_negative_accuracy"
"""What the same model tells of pairs without their pictures; half is chance."""
AGREEMENT = 1e-4
"""Between a metric as recorded and as its predictions give it; JSON rounds to six decimals."""

Row = Mapping[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: ``metrics`` is metrics/<task>.json, ``predictions`` its predictions.jsonl, each by task;
    ``figures`` is every number below metrics/, by dotted name; ``unreadable``, why a task's files could not be read.
    """

    name: str
    metrics: Mapping[str, Mapping[str, Any]]
    predictions: Mapping[str, Sequence[Row]]
    figures: Mapping[str, float]
    unreadable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric, or one slice of it, on the ``rows`` that both answered."""

    name: str
    rows: int
    challenger: float
    champion: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        """What the challenger is better by."""
        return self.challenger - self.champion


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate found. ``reasons`` are those against the challenger; none, and it is accepted."""

    challenger: str
    champion: str | None
    mode: str
    reasons: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def accepted(self) -> bool:
        """Whether nothing speaks against the challenger."""
        return not self.reasons

    @property
    def promote(self) -> bool:
        """Whether it is to be promoted: a dry run promotes nothing, and a gate that is off anything."""
        return self.mode == "off" or (self.mode == "enforce" and self.accepted)

    def text(self) -> str:
        """The verdict in Markdown."""
        against = f"the champion {self.champion}" if self.champion else "no champion"
        head = (
            f"**{self.challenger} {'accepted' if self.accepted else 'refused'}** against {against} (mode {self.mode})"
        )
        lines = [head, "", *(f"* {reason}" for reason in self.reasons), *(f"* note: {note}" for note in self.notes)]
        if self.comparisons:
            lines += [
                "",
                "| metric | rows | challenger | champion | difference | interval |",
                "|---|---|---|---|---|---|",
            ]
        lines += [
            f"| {one.name} | {one.rows} | {one.challenger:.4f} | {one.champion:.4f} | {one.gain:+.4f} "
            f"| {one.low:+.4f} to {one.high:+.4f} |"
            for one in self.comparisons
        ]
        return "\n".join(lines)


class BrokenError(ValueError):
    """A side's files do not hold what the gate needs, or contradict each other."""


def judge(challenger: Side, champion: Side | None, gate: Gate) -> Verdict:
    """Hold the challenger against the floors, the ceiling and, where there is one, the champion."""
    reasons: list[str] = []
    comparisons: list[Comparison] = []
    notes: list[str] = []
    for wanted in gate.metrics:
        try:
            mine = _outcomes(challenger, wanted, gate.slice)
            reasons += _absolute(challenger, wanted, gate)
        except BrokenError as error:
            reasons.append(f"broken: {error}")
            continue
        if champion is not None:
            try:
                theirs = _outcomes(champion, wanted, gate.slice)
            except BrokenError as error:  # a gate that cannot compare lets nobody through
                reasons.append(f"the champion is broken: {error}")
                continue
            found = _relative(wanted, mine, theirs, gate)
            reasons += found.reasons
            comparisons += found.comparisons
            notes += found.notes
    if champion is not None:
        reasons += _speed(challenger, champion, gate)
    return Verdict(
        challenger=challenger.name,
        champion=champion.name if champion else None,
        mode=gate.mode,
        reasons=tuple(dict.fromkeys(reasons)),
        comparisons=tuple(comparisons),
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: float
    slice: str


@dataclass(slots=True)
class _Found:
    reasons: list[str] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _outcomes(side: Side, wanted: GatedMetric, slice_field: str | None) -> dict[Key, _Outcome]:
    """What each row of the predictions counts for the metric, 0 to 1, by the row's key.

    Raises:
        BrokenError: rows are missing, repeated or without a number; or do not give the recorded metric.
    """
    where = f"{side.name}: {wanted.task}"
    if why := side.unreadable.get(wanted.task):
        raise BrokenError(f"{where}: {why}")
    recorded = _recorded(side, wanted.task, wanted.metric)
    found: dict[Key, _Outcome] = {}
    sliced = False
    for place, row in enumerate(side.predictions.get(wanted.task, ())):
        try:
            key = tuple(row[name] for name in wanted.key)
            hash(key)
            value = _value(row, wanted.outcome)
            sliced = sliced or slice_field in row
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenError(f"{where}: row {place + 1} of its predictions: {error}") from None
        if not 0 <= value <= 1:
            raise BrokenError(f"{where}: row {place + 1} of its predictions counts {value!r}, not 0 to 1")
        if key in found:
            raise BrokenError(f"{where}: {key} is predicted twice")
        found[key] = _Outcome(value, str(row.get(slice_field, "")) if slice_field else "")
    if not found:
        raise BrokenError(f"{where}: no predictions")
    if slice_field and not sliced:
        raise BrokenError(f"{where}: no row of its predictions has the field {slice_field!r} that gate.slice names")
    mean = math.fsum(one.value for one in found.values()) / len(found)
    if abs(mean - recorded) > AGREEMENT:
        raise BrokenError(f"{where}: metrics say {wanted.metric} {recorded:.6f}, its predictions {mean:.6f}")
    return found


def _recorded(side: Side, task: str, metric: str) -> float:
    """The number ``metric`` of metrics/<task>.json.

    Raises:
        BrokenError: there is none, or none that is finite.
    """
    figures = side.metrics.get(task)
    found = figures.get(metric) if isinstance(figures, Mapping) else None
    if not isinstance(found, int | float) or not math.isfinite(found):
        raise BrokenError(f"{side.name}: {task}: metrics/{task}.json has no number {metric!r} (found {found!r})")
    return float(found)


def _value(row: Row, outcome: str) -> float:
    if outcome != "pair":
        return float(row[outcome])
    true, false = float(row["score"]), float(row["negative_score"])
    if not (math.isfinite(true) and math.isfinite(false)):
        return math.nan
    return 0.5 if true == false else float(true > false)


def _absolute(side: Side, wanted: GatedMetric, gate: Gate) -> Iterator[str]:
    """The floor, and the ceiling of what may be known without the picture.

    Raises:
        BrokenError: pairs are judged and nobody says what is known of them without the picture.
    """
    value = _recorded(side, wanted.task, wanted.metric)
    if value < wanted.floor:
        yield f"{wanted.task} {wanted.metric} {value:.4f} is below the floor {wanted.floor:.4f}"
    if gate.max_text_only is None or wanted.outcome != "pair":
        return
    # A ceiling that a missing figure would pass is none.
    blind = _recorded(side, wanted.task, TEXT_ONLY)
    if blind > gate.max_text_only:
        yield (
            f"{wanted.task}: {blind:.4f} of the pairs are told apart without the picture, more than "
            f"{gate.max_text_only:.4f}: the data leaks"
        )


def _relative(wanted: GatedMetric, mine: dict[Key, _Outcome], theirs: dict[Key, _Outcome], gate: Gate) -> _Found:
    """The paired comparison, the slices, and two signs of a leak."""
    found, name = _Found(), f"{wanted.task} {wanted.metric}"
    common = {key for key in theirs if key in mine and mine[key].slice == theirs[key].slice}
    share = len(common) / len(theirs)
    if share < gate.min_common_share:
        found.reasons.append(
            f"{wanted.task}: only {share:.1%} of the champion's test rows are test rows of the challenger, less than "
            f"{gate.min_common_share:.1%}: the others may have been trained on"
        )
    if not common:
        return found
    if added := len(mine) - len(common):
        found.notes.append(f"{wanted.task}: {added} test rows that the champion never answered are left out")
    if missed := len(theirs) - len(common):
        found.notes.append(
            f"{wanted.task}: {missed} of the champion's test rows, which the challenger lacks, count as wrong"
        )
    # A row that is left out may be one that would have been answered wrong.
    counted = {key: mine[key] if key in common else _Outcome(0.0, theirs[key].slice) for key in theirs}
    whole = _compare(name, list(theirs), counted, theirs, gate)
    found.comparisons.append(whole)
    needed = wanted.margin * whole.champion
    if not whole.low > needed:
        found.reasons.append(
            f"{name}: not better than the champion by more than {needed:+.4f}: the difference is {whole.gain:+.4f}, "
            f"its {gate.confidence:.0%} interval begins at {whole.low:+.4f}"
        )
    if whole.gain > gate.max_gain:
        found.reasons.append(
            f"{name}: a jump of {whole.gain:+.4f} is more than {gate.max_gain:.4f}: look for a leak, then raise "
            "gate.max_gain"
        )
    for slice_name in sorted({each.slice for each in theirs.values()}) if gate.slice else ():
        keys = [key for key in theirs if theirs[key].slice == slice_name]
        part = _compare(f"{name}, {gate.slice} {slice_name}", keys, counted, theirs, gate)
        found.comparisons.append(part)
        if len(keys) < gate.min_slice_rows:
            found.notes.append(f"{part.name}: {len(keys)} rows are too few to be judged")
        elif part.gain < -gate.max_slice_loss:
            found.reasons.append(f"{part.name}: worse by {-part.gain:.4f}, more than {gate.max_slice_loss:.4f}")
    return found


def _compare(
    name: str, keys: Sequence[Key], mine: dict[Key, _Outcome], theirs: dict[Key, _Outcome], gate: Gate
) -> Comparison:
    ours = np.array([mine[key].value for key in keys])
    other = np.array([theirs[key].value for key in keys])
    low, high = paired_interval(ours - other, [key[0] for key in keys], gate.confidence, gate.resamples)
    return Comparison(name, len(keys), float(ours.mean()), float(other.mean()), low, high)


def paired_interval(
    differences: np.ndarray, records: Sequence[Any], confidence: float, resamples: int
) -> tuple[float, float]:
    """Percentile interval of the mean difference, records resampled with all of their rows.

    Args:
        differences: float [N], one a row.
        records: each row's record, [N].
        confidence: 0.95 for a 95 % interval.
        resamples: how many.
    """
    _, place = np.unique(np.asarray(records, dtype=str), return_inverse=True)
    sums, sizes = np.bincount(place, weights=differences), np.bincount(place)
    generator = np.random.default_rng(SEED)
    means = np.empty(resamples)
    for resample in range(resamples):
        drawn = generator.integers(len(sums), size=len(sums))
        means[resample] = sums[drawn].sum() / sizes[drawn].sum()
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def _speed(challenger: Side, champion: Side, gate: Gate) -> Iterator[str]:
    if gate.latency is None:
        return
    ours, theirs = challenger.figures.get(gate.latency), champion.figures.get(gate.latency)
    if ours is None or theirs is None:
        missing = challenger.name if ours is None else champion.name
        yield f"speed: {missing} has no figure {gate.latency!r}"
    elif not ours <= gate.max_latency_ratio * theirs:
        yield f"slower: {ours:.2f} ms, the champion {theirs:.2f} ms, more than {gate.max_latency_ratio:g} times"
