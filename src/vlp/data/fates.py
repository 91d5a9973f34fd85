"""What was decided about every record: kept or not, its split, its group, and the fields that it loses."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from vlp.data import judged
from vlp.data.grouping import Groups, groups, rows_of
from vlp.data.split import SPLITS, Members, SplitParams, assign_all
from vlp.records import Finding


class FateError(ValueError):
    """No record is left."""


class Fate(NamedTuple):
    """What was decided about a record that is kept."""

    split: str
    group: str
    dropped: frozenset[str]
    """Names of the fields that go."""


@dataclass(frozen=True, slots=True)
class Fates:
    """The fates of all records, by row: a few bytes each."""

    ids: pa.ChunkedArray
    splits: np.ndarray
    """int8 [N], the place in ``SPLITS``; −1 for a record that goes."""
    groups: Groups
    dropped: Mapping[int, frozenset[str]]
    """By row: the fields that go, of records that lose any."""
    lost: list[Finding]
    """The findings that cost a record or a field."""

    def __len__(self) -> int:
        return len(self.splits)

    def of(self, row: int) -> Fate | None:
        """The fate of the record in ``row``; None if it goes."""
        if self.splits[row] < 0:
            return None
        group = str(self.groups.names[int(self.groups.numbers[row])])
        return Fate(SPLITS[self.splits[row]], group, self.dropped.get(row, frozenset()))


def decide(validated: Path, seed: int, params: SplitParams) -> Fates:
    """The fate of every record that was validated.

    Args:
        validated: measures and findings.
        seed: of the split.
        params: shares of the groups.

    Raises:
        ValueError: no record is left, or a split would be empty.
    """
    measures = judged.Measures(validated)
    ids, declared, official = (measures.column(name) for name in ("id", "group", "split"))
    findings = list(judged.read_findings(validated))
    lost = [finding for finding in findings if finding.action in ("rejected", "dropped")]
    rows = rows_of(ids, {finding.record for finding in lost})
    rejected = {finding.record for finding in lost if finding.action == "rejected"}
    dropped: defaultdict[int, set[str]] = defaultdict(set)
    for finding in lost:
        if finding.action == "dropped":
            dropped[rows[finding.record]].add(finding.field)
    kept = np.ones(len(measures), bool)
    kept[[rows[record] for record in rejected]] = False
    if not kept.any():
        reasons = Counter(finding.reason for finding in lost if finding.action == "rejected")
        most = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(5))
        raise FateError(f"{validated}: no usable record of {len(measures)}; rejected for: {most or 'nothing'}")
    members = Members(ids, groups(declared, ids, findings), official, kept)
    splits, conflicts = assign_all(members, seed, params)
    return Fates(
        ids,
        splits,
        members.groups,
        {row: frozenset(fields) for row, fields in dropped.items()},
        [*lost, *(finding for finding in conflicts if finding.action == "rejected")],
    )
