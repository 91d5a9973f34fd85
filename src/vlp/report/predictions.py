"""Single predictions of two revisions, row by row: which answers turned wrong, which turned right.

Rows are those of ``reports/evaluation/<task>/predictions.jsonl``. A row is known by its record and its place among
that record's rows, for that is the order in which every task writes them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp.report.markdown import code, number, several, table
from vlp.report.revisions import ReportError

FOLDER = "reports/evaluation"
FILE = "predictions.jsonl"
MOST_EXAMPLES = 5
FOUND = 0.5
"""The least IoU of a region that is found."""
_MEASURES = ("score", "iou", "rank", "matching_score", "cider")
"""Of a row, the first that it has says how far it moved."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Turned:
    """One row whose answer is another one."""

    record: str
    old: Row
    new: Row
    margin: float
    """How far the score, or what the task has for one, moved; 0 where it has none."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of the rows that both revisions have."""

    rows: int
    only_old: int
    only_new: int
    worse: list[Turned]
    """Right before, wrong now; so are the others. Sorted by how far the score moved, farthest first."""
    better: list[Turned]
    other: list[Turned]
    """Another answer, of which the rows do not say whether it is right."""
    unjudged: int
    """Rows that do not say whether their answer is right, changed or not."""


def compare(old: Path, new: Path) -> Comparison:
    """Compare two files of predictions.

    Raises:
        ReportError: a line is no JSON object, or has no ``record``.
    """
    before, after = dict(_read(old)), dict(_read(new))
    both = [key for key in before if key in after]
    worse, better, other, unjudged = list[Turned](), list[Turned](), list[Turned](), 0
    for key in both:
        was, now = before[key], after[key]
        right = is_right(was), is_right(now)
        turned = Turned(key[0], was, now, _margin(now) - _margin(was))
        if right[0] is None or right[1] is None:
            unjudged += 1
            if _said(was) != _said(now):
                other.append(turned)
        elif right[0] != right[1]:
            (better if right[1] else worse).append(turned)
    for some in (worse, better, other):
        some.sort(key=lambda each: (-abs(each.margin), each.record, _said(each.old)))
    return Comparison(len(both), len(before) - len(both), len(after) - len(both), worse, better, other, unjudged)


def is_right(row: Row) -> bool | None:
    """Whether the row's answer is right, as far as the row itself says; None where it does not.

    ``correct`` or ``faithful`` says it; a ``score`` beside a ``negative_score`` is right where the true statement
    stands above its minimal edit; ``predicted`` is right where it is the ``answer``, or the ``labels``; a ``rank``
    where it is the first; an ``iou`` from 0.5 on, as PASCAL VOC counts a region found (Everingham et al. 2010,
    https://doi.org/10.1007/s11263-009-0275-4).
    """
    for name in ("correct", "faithful"):
        if isinstance(row.get(name), bool):
            return bool(row[name])
    if row.get("score") is not None and row.get("negative_score") is not None:
        return bool(row["score"] > row["negative_score"])
    for name in ("answer", "labels"):
        if "predicted" in row and name in row:
            return bool(row["predicted"] == row[name])
    if row.get("rank") is not None:
        return bool(row["rank"] == 1)
    return bool(row["iou"] >= FOUND) if row.get("iou") is not None else None


def render(found: Comparison, names: tuple[str, str], text_of: Callable[[Row], str]) -> str:
    """The counts, and the examples that moved farthest.

    Args:
        found: what ``compare`` found.
        names: what to call the two sides.
        text_of: the words that a row is about, as Markdown; empty where they are not at hand.
    """
    judged = found.rows - found.unjudged
    parts = [f"{len(found.worse)} turned wrong", f"{len(found.better)} turned right"] if judged else []
    if found.other or not judged:
        parts.append(f"{len(found.other)} changed" + (" otherwise" if judged else ""))
    lines = [f"Of {several(found.rows, 'prediction')} that both have, {', '.join(parts)}."]
    if found.unjudged:
        whose = several(found.unjudged, "row") if judged else "the rows"
        lines.append(f"Whether {whose} turned right or wrong cannot be told: they do not say what is right.")
    for count, name in ((found.only_old, names[0]), (found.only_new, names[1])):
        if count:
            lines.append(f"{several(count, 'prediction')} only {name} has.")
    blocks = [" ".join(lines)]
    for title, some in (("Turned wrong", found.worse), ("Turned right", found.better), ("Changed", found.other)):
        if some:
            rows = [
                [code(each.record), _about(each, text_of), _shown(each.old, each.new), _shown(each.new, each.old)]
                for each in some[:MOST_EXAMPLES]
            ]
            shown = f"the {len(rows)} that moved farthest" if len(rows) < len(some) else "all"
            blocks.append(f"{title}, {shown}:\n\n" + table(["record", "about", *names], rows))
    return "\n\n".join(blocks)


def _read(path: Path) -> Iterator[tuple[tuple[str, int], Row]]:
    places: Counter[str] = Counter()
    with path.open(encoding="utf-8") as file:
        for number_, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                record = str(row["record"])
            except (json.JSONDecodeError, KeyError, TypeError):
                raise ReportError(
                    f"{FILE}, line {number_}: no JSON object with a record: {line.strip()[:60]}"
                ) from None
            yield (record, places[record]), row
            places[record] += 1


def _margin(row: Row) -> float:
    measure = next((row[name] for name in _MEASURES if row.get(name) is not None), 0.0)
    return float(measure - (row.get("negative_score") or 0.0))


def _said(row: Row) -> str:
    """Everything of a row but its scores."""
    return json.dumps({key: value for key, value in row.items() if not isinstance(value, float)}, sort_keys=True)


def _about(turned: Turned, text_of: Callable[[Row], str]) -> str:
    """What the row is about: its words, else its place; and what else both sides say of it."""
    shared = {
        key: value for key, value in turned.new.items() if turned.old.get(key) == value and value not in ("", None)
    }
    words = text_of(turned.new)
    left_out = {"record", "caption"} if words else {"record"}
    rest = (f"{key} {code(str(value))}" for key, value in sorted(shared.items()) if key not in left_out)
    return "; ".join(part for part in (words, *rest) if part)


def _shown(row: Row, other: Row) -> str:
    differing = {key: value for key, value in row.items() if other.get(key) != value}
    return ", ".join(
        f"{key} {number(value) if isinstance(value, (int, float)) else code(str(value))}"
        for key, value in sorted(differing.items(), key=lambda item: (item[0] != "score", item[0]))
    )
