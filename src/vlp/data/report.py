"""The validation report: one HTML file that opens anywhere, offline, and is the same bytes for the same data.

Every text from the data is escaped, its invisible characters made visible; the page allows no script.
"""

from __future__ import annotations

import base64
import heapq
import io
import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jinja2 import Environment, StrictUndefined
from PIL import Image

from vlp.data.expectations import Outcome, failures
from vlp.data.report_page import PAGE
from vlp.data.suite import ValidateParams
from vlp.data.validated import CAPTION, Contents, visible
from vlp.files import atomic
from vlp.preprocessing.image import ImageError, ImageParams, prepare
from vlp.records import Finding, Measured

THUMBNAIL = 64
COLOURS = 64
"""Colours of a thumbnail's palette: it shows what a picture is, in a third of the bytes."""
BARS = 32
ROWS = 12

ACTIONS = {
    "rejected": "the record goes",
    "dropped": "this part goes, the record stays",
    "repaired": "kept, after an exact repair",
    "reported": "kept as it is, for a person to look at",
}


@dataclass(frozen=True, slots=True)
class Validation:
    """All that a report tells."""

    measures: Collection[Measured]
    findings: Sequence[Finding]
    outcomes: Sequence[Outcome]
    contents: Contents
    counts: dict[str, Any]
    """Of ``validated.counts``."""
    moved: Sequence[tuple[str, float]] = ()
    """How far each distribution has moved from the accepted data set's: ``profile.drift``."""


def write(path: Path, validation: Validation, records: pa.Table, image: ImageParams, params: ValidateParams) -> None:
    """Write the page to ``path``, atomically.

    Args:
        path: of the HTML file.
        validation: what it tells.
        records: what was ingested, as the rows of ``shards.RECORDS``: for the examples.
        image: limits and geometry of images.
        params: how many examples to show, and whether critical failures stop the pipeline.
    """
    with atomic(path) as partial:
        page = render(validation, lambda row: records.slice(row, 1).to_pylist()[0], image, params)
        partial.write_text(page, encoding="utf-8")


def render(
    validation: Validation, row_at: Callable[[int], dict[str, Any]], image: ImageParams, params: ValidateParams
) -> str:
    """The page.

    Args:
        validation: what it tells.
        row_at: the row of ``shards.RECORDS`` of each of ``validation.measures``, by position: for the examples.
        image: limits and geometry of images.
        params: how many examples to show, and whether critical failures stop the pipeline.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["visible"] = visible
    page: str = environment.from_string(PAGE).render(
        verdict=_verdict(validation, params),
        tiles=_tiles(validation),
        outcomes=validation.outcomes,
        actions=list(_actions(validation, row_at, image, params.examples)),
        poorest=list(_poorest(validation, row_at, image, params.examples)),
        moved=_moved(validation.moved),
        histograms=list(_histograms(validation)),
        shares=list(_shares(validation)),
    )
    return page


def _verdict(validation: Validation, params: ValidateParams) -> dict[str, str]:
    critical = len(failures(validation.outcomes, "critical"))
    warning = len(failures(validation.outcomes, "warning"))
    tail = f" and {warning} warning{'s' * (warning != 1)}" if warning else ""
    if critical:
        title = f"{critical} critical failure{'s' * (critical > 1)}{tail}"
        means = "The pipeline stops here." if params.mode == "enforce" else "The mode lets the pipeline go on."
        return {"title": title, "tone": "bad", "means": means}
    if warning:
        title = f"Passed with {warning} warning{'s' * (warning > 1)}"
        return {"title": title, "tone": "warn", "means": "The pipeline goes on; a person should look."}
    if not validation.outcomes:
        return {"title": "Not checked", "tone": "warn", "means": "Records were measured, nothing was expected of them."}
    return {"title": "Passed", "tone": "good", "means": "Every expectation is met."}


def _tiles(validation: Validation) -> list[tuple[str, str]]:
    counts = validation.counts
    return [
        ("records", f"{counts['records']:,}"),
        ("kept", f"{counts['records'] - counts['rejected']:,}"),
        ("rejected", f"{counts['rejected']:,}"),
        ("share rejected", f"{counts['reject_share']:.2%}"),
        ("captions", f"{counts['captions']:,}"),
        ("captions dropped", f"{counts['captions_dropped']:,}"),
    ]


def _actions(
    validation: Validation, row_at: Callable[[int], dict[str, Any]], image: ImageParams, examples: int
) -> Iterator[dict[str, Any]]:
    found: defaultdict[tuple[str, str], list[Finding]] = defaultdict(list)
    counts: Counter[tuple[str, str]] = Counter()
    of_records: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], str] = {}
    for finding in validation.findings:  # those of one record stand together
        key = (finding.action, finding.reason)
        counts[key] += 1
        of_records[key] += last.get(key) != finding.record
        last[key] = finding.record
        if len(found[key]) < examples:
            found[key].append(finding)
    wanted = {finding.record for each in found.values() for finding in each}
    position = {each.id: at for at, each in enumerate(validation.measures) if each.id in wanted}
    records = len(validation.measures)
    for action, means in ACTIONS.items():
        reasons = [
            {
                "name": reason,
                "count": f"{count:,}",
                "share": f"{of_records[kind, reason] / records:.2%}",
                "examples": [_example(each, row_at(position[each.record]), image) for each in found[kind, reason]],
            }
            for (kind, reason), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            if kind == action
        ]
        if reasons:
            yield {"name": action, "means": means, "reasons": reasons}


def _example(finding: Finding, row: dict[str, Any], image: ImageParams) -> dict[str, str]:
    place = CAPTION.fullmatch(finding.field)
    return {
        "record": visible(finding.record),
        "field": finding.field,
        "detail": visible(finding.detail),
        # A caption that people rejected may be there no more.
        "text": visible(row["captions"][at]["text"]) if place and (at := int(place[1])) < len(row["captions"]) else "",
        "picture": _picture(row["image"], image),
    }


def _poorest(
    validation: Validation, row_at: Callable[[int], dict[str, Any]], image: ImageParams, examples: int
) -> Iterator[dict[str, Any]]:
    """Of the pictures that were kept, those with the least of what a picture should have."""
    rejected = {finding.record for finding in validation.findings if finding.action == "rejected"}
    found: dict[str, list[tuple[float, int, str]]] = {name: [] for name in ("sharpness", "contrast")}
    for position, each in enumerate(validation.measures):
        if each.readable and each.id not in rejected:
            for name, values in found.items():
                # The largest of the smallest stands first, negated: a heap of that many.
                item = (-getattr(each, name), -position, each.id)
                if len(values) < examples:
                    heapq.heappush(values, item)
                elif examples:
                    heapq.heappushpop(values, item)
    for name, values in found.items():
        rows = [(-value, -place, record, row_at(-place)) for value, place, record in sorted(values, reverse=True)]
        examples_of = [
            {
                "record": visible(record),
                "field": f"{name} {value:.3g}",
                "detail": "",
                "text": visible(row["captions"][0]["text"]) if row["captions"] else "",
                "picture": _picture(row["image"], image),
            }
            for value, _, record, row in rows
        ]
        if examples_of:
            yield {"name": f"least {name}", "examples": examples_of}


def _moved(moved: Sequence[tuple[str, float]]) -> list[dict[str, str]]:
    farthest = sorted(moved, key=lambda item: (-item[1], item[0]))
    return [{"name": visible(name), "count": f"{far:.3f}", "width": f"{100 * far:.2f}"} for name, far in farthest]


def _picture(data: bytes, params: ImageParams) -> str:
    """A small PNG as a data URI; empty where the image does not decode."""
    try:
        pixels = prepare(data, params.model_copy(update={"size": THUMBNAIL})).pixels
    except ImageError:
        return ""
    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(COLOURS).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _histograms(validation: Validation) -> Iterator[dict[str, Any]]:
    titles = ("Width, pixels", "Height, pixels", "File size, kB", "Contrast")
    of_images, words, captions = [array("d") for _ in titles], array("d"), array("d")
    for each in validation.measures:
        captions.append(len(each.caption_words))
        # One text of a thousand words would press the others into a single bar.
        pairs = zip(each.caption_words, each.caption_problems, strict=True)
        words.extend(count for count, problem in pairs if not problem)
        if each.readable:
            measured = (each.width, each.height, each.file_bytes / 1000, each.contrast)
            for values, value in zip(of_images, measured, strict=True):
                values.append(value)
    yield from map(histogram, titles, of_images)
    yield histogram("Words of a usable caption", words)
    yield histogram("Captions of a record", captions)


def histogram(title: str, values: Sequence[float]) -> dict[str, Any]:
    """Bars of a histogram on 320 × 100 units, up to ``BARS`` of them; whole numbers are never cut in two."""
    if not values:
        return {"title": title, "bars": [], "low": "", "high": "", "summary": "none"}
    array = np.asarray(values, dtype=np.float64)
    low, high, median = float(array.min()), float(array.max()), float(np.median(array))
    if low == high:
        return {"title": title, "bars": [], "low": "", "high": "", "summary": f"all {low:g} ({len(array):,})"}
    whole = bool((array == np.round(array)).all())
    step = max(1, math.ceil((high - low + 1) / BARS)) if whole else (high - low) / BARS
    edges = low + step * np.arange(math.ceil((high - low + 1) / step) + 1 if whole else BARS + 1)
    if not whole:
        edges[-1] = high
    counts, _ = np.histogram(array, edges)
    width, tallest = 320 / len(counts), int(counts.max())
    bars = [
        {
            "x": f"{number * width + 0.5:.2f}",
            "y": f"{99 - 98 * count / tallest:.2f}",
            "width": f"{width - 1:.2f}",
            "height": f"{98 * count / tallest:.2f}",
            "label": _label(edges[number], edges[number + 1], whole, int(count)),
        }
        for number, count in enumerate(counts)
        if count
    ]
    summary = f"{low:.4g} to {high:.4g}, median {median:.4g} ({len(array):,})"
    return {"title": title, "bars": bars, "low": f"{low:.4g}", "high": f"{high:.4g}", "summary": summary}


def _label(low: float, high: float, whole: bool, count: int) -> str:
    if whole:
        last = int(high) - 1
        return f"{int(low)}: {count:,}" if last == int(low) else f"{int(low)} to {last}: {count:,}"
    return f"{low:.4g} to {high:.4g}: {count:,}"


def _shares(validation: Validation) -> Iterator[dict[str, Any]]:
    contents = validation.contents
    scripts, formats, splits = Counter[str](), Counter[str](), Counter[str]()
    for each in validation.measures:
        scripts.update(each.caption_scripts)
        formats.update([f"{each.format} {each.mode}"] if each.readable else ())
        splits.update([each.split] if each.split else ())
    for title, counts in (
        ("Formats", formats),
        ("Official splits", splits),
        ("Scripts of captions", Counter({script or "none": count for script, count in scripts.items()})),
        ("What negatives change", contents.kinds),
        ("Labels", contents.labels),
        ("Answers", contents.answers),
    ):
        if counts:
            yield _bars(title, counts)


def _bars(title: str, counts: Counter[str]) -> dict[str, Any]:
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [
        {"name": visible(name) or "none", "count": f"{count:,}", "width": f"{100 * count / rows[0][1]:.2f}"}
        for name, count in rows[:ROWS]
    ]
    return {"title": title, "rows": shown, "others": max(0, len(rows) - ROWS)}
