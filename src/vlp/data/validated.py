"""What can be counted of a validated data set: contents, findings by what they do, the figures of its metrics."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vlp.records import Finding, Measured, Record

LONGEST = 160
"""Characters that ``visible`` shows of a text."""

MOST_WORDS = 1 << 18
"""Different words that are counted apart: memory does not grow beyond them."""
_MARKS = "".join(char for char in map(chr, range(0x300, 0x10000)) if unicodedata.category(char).startswith("M"))
"""Vowel signs and accents: letters of a word, to which ``\\w`` does not count them."""
_ALONE = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_WORD = re.compile(rf"[{_ALONE}]|(?:(?![{_ALONE}])(?:[^\W_]|[{_MARKS}]))+")

CAPTION = re.compile(r"captions\[(\d+)\]")
"""The field of a finding about one caption, and its index."""


@dataclass(slots=True)
class Contents:
    """What the records carry besides image and caption, counted as they pass."""

    labels: Counter[str] = field(default_factory=Counter)
    labelled: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    """Kinds of negatives; those of captions without one are not counted."""
    regions: int = 0
    words: Counter[str] = field(default_factory=Counter)
    """Words of the captions, in lower case; of scripts without spaces, characters. Of very many different ones, those
    that had been met once when the room was full count as ``rare``."""
    rare: int = 0

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """``records``, counted."""
        for record in records:
            self.labels.update(set(record.labels))
            self.labelled += bool(record.labels)
            self.answers.update(question.answer for question in record.questions)
            self.kinds.update(caption.kind for caption in record.captions if caption.negative is not None)
            self.regions += len(record.regions)
            for caption in record.captions:
                self.words.update(_WORD.findall(caption.text.casefold()))
            if len(self.words) > MOST_WORDS:
                once = [word for word, count in self.words.items() if count == 1]
                self.rare += len(once)
                for word in once:
                    del self.words[word]
            yield record

    @property
    def once_share(self) -> float:
        """Of the words, counted as often as they are said, those that are said once in the whole data set."""
        once = self.rare + sum(count == 1 for count in self.words.values())
        total = self.words.total() + self.rare
        return once / total if total else 0.0


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
        elif finding.action == "dropped" and (place := CAPTION.fullmatch(finding.field)):
            dropped[finding.record].add(int(place[1]))
    by_reason: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (action, reason), count in sorted(counts.items()):
        by_reason[action][reason] = count
    kept = {record: places for record, places in dropped.items() if record not in rejected}
    return Verdicts(rejected=dict(rejected), dropped_captions=kept, by_reason=dict(by_reason))


def counts(measures: Collection[Measured], found: Verdicts) -> dict[str, Any]:
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


def visible(text: str) -> str:
    """``text`` for a reader: control and format characters shown, the end left out where it is long."""
    shown = "".join(_shown(char) for char in text[:LONGEST])
    return shown + "…" * (len(text) > LONGEST)


def _shown(char: str) -> str:
    if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return char
    return chr(0x2400 + ord(char)) if ord(char) < 32 else f"⟨U+{ord(char):04X}⟩"
