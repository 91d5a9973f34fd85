"""The plots of dvc.yaml, one chart a curve, this side by that, as Mermaid: GitHub draws it in a comment.

A comment shows no picture that is not on the web, and a pull request's pictures are nowhere yet. Mermaid's
``xychart-beta`` is text; its points stand at even distances, so that a curve is interpolated between its own first
and last point, and never beyond them.

Source: https://mermaid.js.org/syntax/xyChart.html
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlp.report.markdown import NOTHING, code, details, html, number, plain, table

POINTS = 31
MOST_CHARACTERS = 24_000
"""Of all charts together: a comment on GitHub holds 65,536."""
Locate = Callable[[str], Path | str]
"""A file of one side, or the reason why it cannot be had."""
Points = tuple[np.ndarray, np.ndarray]
"""x, rising, and y: float [N] each."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One plotted column of one file."""

    plot: str
    """The plot's name in dvc.yaml."""
    file: str
    x: str
    y: str
    template: str


def declared(graph: dict[str, Any]) -> tuple[list[Curve], list[str]]:
    """The curves of dvc.yaml's ``plots``, and the names of plots that are declared in a way not drawn here."""
    curves: list[Curve] = []
    others: list[str] = []
    for entry in graph.get("plots") or ():
        for name, body in entry.items() if isinstance(entry, dict) else ((str(entry), None),):
            found = list(_curves(name, body)) if isinstance(body, dict) else []
            curves += found
            others += [] if found else [name]
    return curves, others


def _curves(name: str, body: dict[str, Any]) -> Iterator[Curve]:
    x, y = body.get("x"), body.get("y")
    if not isinstance(y, dict):
        return
    for file, columns in y.items():
        if not file.endswith(".csv"):
            return
        over = x.get(file) if isinstance(x, dict) else x
        if not isinstance(over, str):
            return
        for column in [columns] if isinstance(columns, str) else columns:
            yield Curve(name, file, over, column, str(body.get("template", "linear")))


def render(curves: Sequence[Curve], names: tuple[str, str], sides: tuple[Locate, Locate]) -> str:
    """Every curve that differs, plot by plot; what is the same or cannot be had is said.

    Args:
        curves: what dvc.yaml declares.
        names: what to call the two sides, as plain text.
        sides: how each side's file of a path is found.
    """
    said: list[str] = []
    same: list[str] = []
    room = MOST_CHARACTERS
    for plot in dict.fromkeys(curve.plot for curve in curves):
        mine = [curve for curve in curves if curve.plot == plot]
        files = dict.fromkeys(curve.file for curve in mine)
        missing = [
            f"{code(file)} of {plain(name)}: {why}"
            for file in files
            for name, side in zip(names, sides, strict=True)
            if isinstance(why := side(file), str)
        ]
        if missing:
            said.append(f"{plain(plot)}: not drawn. {'; '.join(missing)}.")
        elif all(_bytes(sides[0], file) == _bytes(sides[1], file) for file in files):
            same.append(plain(plot))
        elif len(drawn := "\n\n".join(_pair(curve, names, sides) for curve in mine)) > room:
            said.append(f"{plain(plot)}: differs, not drawn for want of room; see `dvc plots diff`.")
        else:
            said.append(details(plot, drawn))
            room -= len(drawn)
    if same:
        said.append(f"The same on both sides: {', '.join(same)}.")
    return "\n\n".join(said)


def _bytes(side: Locate, file: str) -> bytes:
    return _path(side, file).read_bytes()


def _path(side: Locate, file: str) -> Path:
    found = side(file)
    assert isinstance(found, Path), found
    return found


def _pair(curve: Curve, names: tuple[str, str], sides: tuple[Locate, Locate]) -> str:
    rows = [_rows(side, curve) for side in sides]
    if curve.template.startswith("confusion"):
        return _confusion(curve, names, rows)
    if curve.template.startswith("bar"):
        return _bars(curve, names, rows)
    if (words := _no_number(rows, curve)) is not None:
        return f"{code(curve.y)} over {code(curve.x)}: not drawn, {code(words)} is no number."
    points = [_points(some, curve) for some in rows]
    heights = np.concatenate([y for _, y in points])
    low, high = (float(heights.min()), float(heights.max())) if len(heights) else (0.0, 1.0)
    cells = [_chart(curve, some, low, high) for some in points]
    header = "".join(f"<th>{html(name)}</th>" for name in names)
    return (
        f"<table><tr>{header}</tr><tr>\n" + "\n".join(f"<td>\n\n{cell}\n\n</td>" for cell in cells) + "\n</tr></table>"
    )


def _rows(side: Locate, curve: Curve) -> list[dict[str, str]]:
    """The rows that have both columns; none where the file lacks one, as before a column is new."""
    with _path(side, curve.file).open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row.get(curve.x) and row.get(curve.y)]


def _no_number(rows: Sequence[Sequence[dict[str, str]]], curve: Curve) -> str | None:
    """The first value of either column that is no number."""
    values = (row[column] for some in rows for row in some for column in (curve.x, curve.y))
    return next((value for value in values if _number(value) is None), None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _points(rows: Sequence[dict[str, str]], curve: Curve) -> Points:
    """The finite numbers of both columns, by rising x."""
    pairs = [(float(row[curve.x]), float(row[curve.y])) for row in rows]
    finite = sorted(pair for pair in pairs if all(map(math.isfinite, pair)))
    return np.array([x for x, _ in finite]), np.array([y for _, y in finite])


def _chart(curve: Curve, points: Points, low: float, high: float) -> str:
    x, y = points
    if len(x) < 2:
        return f"{code(curve.y)}: {'no point' if not len(x) else f'one point, {y[0]:.4g} at {x[0]:.4g}'}"
    grid = np.linspace(x[0], x[-1], min(POINTS, max(len(np.unique(x)), 2)))
    heights = ", ".join(f"{height:.4g}" for height in np.interp(grid, x, y).tolist())
    top = high if high > low else low + 1.0
    return "\n".join(
        [
            "```mermaid",
            "---",
            "config: {xyChart: {width: 420, height: 260}}",
            "---",
            "xychart-beta",
            f'    x-axis "{_quoted(curve.x)}" {x[0]:.6g} --> {x[-1]:.6g}',
            f'    y-axis "{_quoted(curve.y)}" {low:.4g} --> {top:.4g}',
            f"    line [{heights}]",
            "```",
        ]
    )


def _quoted(text: str) -> str:
    return text.replace('"', "'")


def _confusion(curve: Curve, names: tuple[str, str], rows: Sequence[Sequence[dict[str, str]]]) -> str:
    counts = [Counter((row[curve.x], row[curve.y]) for row in some) for some in rows]
    header = [plain(curve.x), plain(curve.y), *map(plain, names)]
    pairs = sorted({pair for some in counts for pair in some})
    return table(header, [[*map(plain, pair), *(str(some[pair]) for some in counts)] for pair in pairs])


def _bars(curve: Curve, names: tuple[str, str], rows: Sequence[Sequence[dict[str, str]]]) -> str:
    """A number a label: bars lie down, so that ``x`` is the number; where it is the label, they stand."""
    lies = all(_number(row[curve.x]) is not None for some in rows for row in some)
    label, value = (curve.y, curve.x) if lies else (curve.x, curve.y)
    sides = [{row[label]: row[value] for row in some} for some in rows]
    shown = [
        {name: number(found) if (found := _number(text)) is not None else plain(text) for name, text in side.items()}
        for side in sides
    ]
    header = [plain(label), *(f"{plain(value)}, {plain(name)}" for name in names)]
    labels = dict.fromkeys([*sides[1], *sides[0]])
    return table(header, [[plain(each), *(side.get(each, NOTHING) for side in shown)] for each in labels])
