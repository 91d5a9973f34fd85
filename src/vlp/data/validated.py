"""What validation knows and leaves behind: measures, findings, and what can be counted of both.

``data/validated`` holds ``measures.arrow`` (one row a ``Measured``) and ``findings.jsonl`` (one ``Finding`` a
line, in the order they were made).
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from vlp import files
from vlp.records import Finding, Measured, Record

MEASURES, FINDINGS = "measures.arrow", "findings.jsonl"
ROWS_PER_BATCH = 4096

_text, _texts = pa.string(), pa.list_(pa.string())

SCHEMA = pa.schema(
    [
        pa.field("id", _text, nullable=False),
        pa.field("group", _text, nullable=False),
        pa.field("split", _text),
        pa.field("readable", pa.bool_(), nullable=False),
        pa.field("problem", _text, nullable=False),
        pa.field("notes", _texts, nullable=False),
        pa.field("format", _text, nullable=False),
        pa.field("mode", _text, nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("file_bytes", pa.int64(), nullable=False),
        pa.field("sharpness", pa.float64(), nullable=False),
        pa.field("contrast", pa.float64(), nullable=False),
        pa.field("saturation", pa.float64(), nullable=False),
        pa.field("content_hash", _text, nullable=False),
        pa.field("pixel_hash", _text, nullable=False),
        pa.field("thumbnail", pa.binary(), nullable=False),
        pa.field("caption_problems", _texts, nullable=False),
        pa.field("caption_words", pa.list_(pa.int32()), nullable=False),
        pa.field("caption_hashes", _texts, nullable=False),
        pa.field("caption_scripts", _texts, nullable=False),
    ]
)
"""One row a ``Measured``, field by field."""

_CAPTION = re.compile(r"captions\[(\d+)\]")


@dataclass(slots=True)
class Contents:
    """What the records carry besides image and caption, counted as they pass."""

    labels: Counter[str] = field(default_factory=Counter)
    labelled: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    """Kinds of negatives; those of captions without one are not counted."""
    regions: int = 0

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """``records``, counted."""
        for record in records:
            self.labels.update(set(record.labels))
            self.labelled += bool(record.labels)
            self.answers.update(question.answer for question in record.questions)
            self.kinds.update(caption.kind for caption in record.captions if caption.negative is not None)
            self.regions += len(record.regions)
            yield record


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdicts:
    """The findings, by what they do."""

    rejected: dict[str, list[str]]
    """Reasons of each rejected record, by its id."""
    dropped_captions: dict[str, set[int]]
    """Indices of the captions that go, by the id of a record that stays."""
    by_reason: dict[str, dict[str, int]]
    """Findings by action and reason."""


def verdicts(findings: Iterable[Finding]) -> Verdicts:
    """Sort ``findings`` by what they do."""
    rejected: defaultdict[str, list[str]] = defaultdict(list)
    dropped: defaultdict[str, set[int]] = defaultdict(set)
    counts: Counter[tuple[str, str]] = Counter()
    for finding in findings:
        counts[finding.action, finding.reason] += 1
        if finding.action == "rejected":
            rejected[finding.record].append(finding.reason)
        elif finding.action == "dropped" and (place := _CAPTION.fullmatch(finding.field)):
            dropped[finding.record].add(int(place[1]))
    by_reason: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (action, reason), count in sorted(counts.items()):
        by_reason[action][reason] = count
    kept = {record: places for record, places in dropped.items() if record not in rejected}
    return Verdicts(rejected=dict(rejected), dropped_captions=kept, by_reason=dict(by_reason))


def counts(measures: Sequence[Measured], found: Verdicts) -> dict[str, Any]:
    """The figures of ``metrics/validation.json`` that need no threshold.

    A record with two reasons counts under both, so that ``rejects_by_reason`` may sum to more than ``rejected``.
    """
    reasons = Counter(reason for each in found.rejected.values() for reason in set(each))
    return {
        "records": len(measures),
        "rejected": len(found.rejected),
        "reject_share": len(found.rejected) / len(measures) if measures else 0.0,
        "rejects_by_reason": dict(sorted(reasons.items())),
        "findings_by_reason": found.by_reason,
        "captions": sum(len(each.caption_words) for each in measures),
        "captions_dropped": sum(map(len, found.dropped_captions.values())),
    }


def write(folder: Path, measures: Sequence[Measured], findings: Iterable[Finding]) -> None:
    """Write both files into ``folder``; the same input gives the same bytes."""
    with pa.ipc.new_file(str(folder / MEASURES), SCHEMA) as writer:
        for start in range(0, len(measures), ROWS_PER_BATCH):
            rows = [asdict(each) for each in measures[start : start + ROWS_PER_BATCH]]
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
    files.write_jsonl(folder / FINDINGS, map(asdict, findings))


def read_findings(folder: Path) -> list[Finding]:
    """The findings of ``folder``, in order.

    Raises:
        ValueError: the file is missing or has a line that is no finding.
    """
    path = folder / FINDINGS
    if not path.is_file():
        raise ValueError(f"{path}: no such file; run the stage validate first")
    findings = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                findings.append(Finding(**json.loads(line)))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}:{number}: not a finding ({error})") from None
    return findings
