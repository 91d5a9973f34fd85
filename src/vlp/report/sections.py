"""The sections of a report, each a function of two sides."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vlp.params import read
from vlp.report import plots, predictions, statements, values
from vlp.report.lock import Cache, Entry, Lock, content_of
from vlp.report.markdown import NOTHING, bytes_, code, details, difference, number, several, short, table
from vlp.report.revisions import Revision
from vlp.report.values import ABSENT, Metric

VALIDATION = "metrics/validation.json"
PREPARED = "data/prepared"
TIMING = "metrics/timing/"
"""Wall-clock figures, of the machine as much as of the code: shown, and not judged."""


@dataclass(frozen=True, slots=True)
class Side:
    """One revision and what was read of it."""

    revision: Revision
    label: str
    metrics: dict[str, dict[str, Any]]
    lock: Lock
    params: dict[str, Any]

    @classmethod
    def of(cls, revision: Revision, label: str) -> Side:
        """Read all that a report compares.

        Raises:
            ReportError: a metrics file is missing or cannot be read.
            ParamsError: params.yaml or dvc.lock is missing or no YAML.
        """
        params = read(revision.folder / "params.yaml")
        return cls(revision, label, revision.metrics(), Lock.of(revision), params)


@dataclass(frozen=True, slots=True)
class Pair:
    """The two sides, base first."""

    old: Side
    new: Side
    cache: Cache

    @property
    def labels(self) -> tuple[str, str]:
        """What the two sides are called in headers."""
        return self.old.label, self.new.label


def parameters(pair: Pair) -> str:
    """Each parameter that differs."""
    found = [change for change in values.changes(pair.old.params, pair.new.params) if not change.is_same]
    if not found:
        return "No parameter differs."
    rows = [[code(each.name), *(_side(value) for value in (each.old, each.new))] for each in found]
    return table(["parameter", *pair.labels], rows, more="; `git diff` shows them all")


def metrics(pair: Pair) -> tuple[str, str]:
    """A sentence on how the metrics went, and their tables."""
    by_file = values.metrics(pair.old.metrics, pair.new.metrics)
    by_file.pop(VALIDATION, None)
    every = [(path, metric) for path, found in by_file.items() for metric in found]
    moved = [each for each in every if not each[1].is_same]
    # What most needs a reader comes first, for a table is cut after some rows.
    judged = sorted((each for each in moved if not each[0].startswith(TIMING)), key=lambda each: _urgency(each[1]))
    whole, parts = ([each for each in judged if ("." in each[1].name) is nested] for nested in (False, True))
    timed = [each for each in moved if each[0].startswith(TIMING)]
    same = [each for each in every if each[1].is_same]

    header = ["metric", *pair.labels, "difference", "95 % interval", "verdict"]
    more = f"; `dvc metrics diff --all {pair.old.revision.name}` shows them all"
    blocks = [table(header, [_metric_row(*each) for each in whole], more=more)] if whole else []
    if parts:
        rows = [_metric_row(*each) for each in parts]
        blocks.append(details(f"By slice and part: {len(rows)} differ", table(header, rows, more=more)))
    if timed:
        rows = [_metric_row(*each)[:4] for each in timed]
        blocks.append(
            details("Wall clock, of the machines that ran it: not judged", table(header[:4], rows, more=more))
        )
    if same:
        rows = [[_metric_name(path, each.name), _side(each.new)] for path, each in same]
        blocks.append(details(f"{several(len(same), 'figure')} the same", table(["metric", "value"], rows, more=more)))
    return _summary(judged), "\n\n".join(blocks)


def _urgency(metric: Metric) -> int:
    """0 for what is lost, then what is worse beyond the interval, worse, better, and the rest."""
    if metric.is_lost:
        return 0
    if metric.judgement == "worse":
        return 1 if metric.is_beyond else 2
    return 3 if metric.judgement == "better" else 4


MOST_NAMED = 5
_PLACES = {True: " beyond the interval", False: " inside the interval", None: ", without an interval"}


def _summary(moved: list[tuple[str, Metric]]) -> str:
    if not moved:
        return "**No metric differs.**"
    counts = []
    for judgement in ("worse", "better"):
        mine = [each for each in moved if each[1].judgement == judgement]
        for beyond, where in _PLACES.items():
            if some := [each for each in mine if each[1].is_beyond is beyond]:
                text = f"{several(len(some), 'metric')} {judgement}{where}"
                counts.append(f"**{text}** ({_named(some)})" if beyond else text)
    if lost := [each for each in moved if each[1].is_lost]:
        counts.insert(0, f"**{several(len(lost), 'figure')} lost** ({_named(lost)})")
    if added := [each for _, each in moved if each.old is ABSENT]:
        counts.append(f"{several(len(added), 'figure')} new")
    if neutral := [each for _, each in moved if not (each.judgement or each.is_lost or each.old is ABSENT)]:
        counts.append(f"{several(len(neutral), 'figure')} without a better or worse changed")
    return "; ".join(counts) + "."


def _named(some: list[tuple[str, Metric]]) -> str:
    """The first ones' names, and how many more there are."""
    names = ", ".join(_metric_name(path, metric.name) for path, metric in some[:MOST_NAMED])
    return names if len(some) <= MOST_NAMED else f"{names} and {len(some) - MOST_NAMED} more"


def _metric_row(path: str, metric: Metric) -> list[str]:
    by = NOTHING if metric.by is None else difference(metric.by)
    interval = metric.new_interval
    shown = NOTHING if interval is None else f"{number(interval[0])} to {number(interval[1])}"
    return [_metric_name(path, metric.name), _side(metric.old), _side(metric.new), by, shown, _verdict(metric)]


def _metric_name(path: str, name: str) -> str:
    return code(f"{values.label(path)}: {name}")


def _verdict(metric: Metric) -> str:
    if metric.old is ABSENT:
        return "new"
    if metric.is_lost or metric.new is ABSENT:
        return "**gone**" if metric.new is ABSENT else "**no number any more**"
    if not metric.judgement:
        return NOTHING
    text = f"{'▲' if metric.judgement == 'better' else '▼'} {metric.judgement}"
    if metric.is_beyond is None:
        return text
    return f"**{text}, beyond the interval**" if metric.is_beyond else f"{text}, inside the interval"


def data(pair: Pair) -> str:
    """What DVC tracks and is another one now, by hash, size and number of files."""
    old, new = (side.lock.outs | side.lock.inputs for side in (pair.old, pair.new))
    rows = []
    for path in sorted({*old, *new}):
        before, after = old.get(path), new.get(path)
        if before == after or _in_git(pair, path):
            continue
        kind = "raw data" if path in pair.old.lock.inputs | pair.new.lock.inputs else "output"
        rows.append([code(path), kind, _entry(before), _entry(after)])
    ran = [name for name, entry in pair.new.lock.stages.items() if entry != pair.old.lock.stages.get(name)]
    gone = [name for name in pair.old.lock.stages if name not in pair.new.lock.stages]
    lines = [f"Stages that ran again or are new: {', '.join(map(code, ran)) or 'none'}."]
    if gone:
        lines.append(f"Stages that are gone: {', '.join(map(code, gone))}.")
    outs = table(["path", "kind", *pair.labels], rows) if rows else "No data, model or report that DVC tracks differs."
    return " ".join(lines) + "\n\n" + outs


def validation(pair: Pair) -> str:
    """What validation counted on both sides, and the reasons whose counts differ."""
    sides = [side.metrics.get(VALIDATION, {}) for side in (pair.old, pair.new)]
    if not any(sides):
        return f"Neither side has {code(VALIDATION)}."
    found = values.metrics({"": sides[0]}, {"": sides[1]})[""]
    shown = [each for each in found if "." not in each.name or not each.is_same]
    rows = [[code(each.name), _side(each.old), _side(each.new), _by(each), _verdict(each)] for each in shown]
    failures = sides[1].get("critical_failures")
    stop = f"**{several(failures, 'critical expectation')} not met.**\n\n" if failures else ""
    return stop + table(["validation", *pair.labels, "difference", "verdict"], rows)


def _by(metric: Metric) -> str:
    return NOTHING if not metric.by else difference(metric.by)


def changed_predictions(pair: Pair) -> str:
    """Of each evaluated task, the single predictions that turned."""
    tasks = sorted({path for side in (pair.old, pair.new) for path in side.lock.outs if _is_evaluation(path)})
    blocks = [f"### {path.rsplit('/', 1)[1]}\n\n{_task(pair, path)}" for path in tasks]
    return "\n\n".join(blocks) or f"No task leaves predictions in {code(predictions.FOLDER)}."


def _task(pair: Pair, path: str) -> str:
    old, new = (side.lock.outs.get(path) for side in (pair.old, pair.new))
    if old is None or new is None:
        return f"Only {pair.labels[0] if new is None else pair.labels[1]} has this task."
    if old == new:
        return "Every prediction is the same."
    file = f"{path}/{predictions.FILE}"
    found = [content_of(file, side.lock, pair.cache, side.revision) for side in (pair.old, pair.new)]
    before, after = found
    if isinstance(before, str) or isinstance(after, str):
        lacking = [f"{name}: {why}" for name, why in zip(pair.labels, found, strict=True) if isinstance(why, str)]
        return f"Not compared, {code(file)} cannot be had. {'; '.join(lacking)}."
    prepared = [side.lock.outs.get(PREPARED) for side in (pair.old, pair.new)]
    texts = statements.Statements(list(_test_shards(pair).values()))
    said = predictions.render(predictions.compare(before, after), pair.labels, texts.of)
    if prepared[0] == prepared[1]:
        return said
    return "The prepared data differ, so that a row may be about another statement than before.\n\n" + said


def _test_shards(pair: Pair) -> dict[str, Path]:
    """The test split of this branch, as far as it is in the cache."""
    found = pair.cache.folder(PREPARED, pair.new.lock.outs)
    return {name: path for name, path in sorted(found.items()) if name.startswith("test-")}


def curves(pair: Pair) -> str:
    """The plots of dvc.yaml, this side by that."""
    found, others = plots.declared(read(pair.new.revision.folder / "dvc.yaml"))
    sides = tuple(partial(_locate, pair, side) for side in (pair.old, pair.new))
    names = (pair.old.revision.name, pair.new.label)
    blocks = [plots.render(found, names, (sides[0], sides[1]))] if found else []
    if others:
        blocks.append(
            f"Not drawn, declared by file alone or no CSV: {', '.join(map(code, others))}; see `dvc plots diff`."
        )
    return "\n\n".join(blocks) or "dvc.yaml declares no plot."


def _locate(pair: Pair, side: Side, path: str) -> Path | str:
    return content_of(path, side.lock, pair.cache, side.revision)


def _in_git(pair: Pair, path: str) -> bool:
    """Metrics are outputs, too, but git holds them, and they have a section of their own."""
    return any((side.revision.folder / path).is_file() for side in (pair.old, pair.new))


def _is_evaluation(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return folder == predictions.FOLDER and bool(name)


def _side(value: Any) -> str:
    if value is ABSENT:
        return NOTHING
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number(value) if is_number else short(value)


def _entry(entry: Entry | None) -> str:
    if entry is None:
        return NOTHING
    return f"{code(entry.md5[:7])}, {bytes_(entry.size)}, {several(entry.files, 'file')}"
