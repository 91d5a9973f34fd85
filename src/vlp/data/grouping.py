"""Which records belong together: declared groups, joined wherever a duplicate links two of them.

No split may separate what is together here. Apart from ``cleaning``, so that a new rule of rejection does not
prepare anything again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vlp.records import Finding, Measured

EXACT, NEAR = "exact_duplicate", "near_duplicate"
_LINK = re.compile(r"(?:same file as|same pixels as|distance [0-9.]+ from) (.+)", re.DOTALL)


def same_as(record: str, *, file: bool) -> str:
    """The detail of an ``exact_duplicate``: which record it repeats, and in what."""
    return f"same {'file' if file else 'pixels'} as {record}"


def near_to(record: str, distance: float) -> str:
    """The detail of a ``near_duplicate``."""
    return f"distance {distance:.2f} from {record}"


def linked(finding: Finding) -> str | None:
    """The record that a finding of duplication names; None for other findings."""
    if finding.reason not in (EXACT, NEAR):
        return None
    match = _LINK.fullmatch(finding.detail)
    if match is None:
        raise ValueError(f"record {finding.record!r}: {finding.reason} names no record: {finding.detail!r}")
    return match[1]


class Unions:
    """Sets that merge; the lowest member names a set (disjoint-set forest with path halving)."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, member: int) -> int:
        """The lowest member of the set that ``member`` is in."""
        parent = self._parent
        while parent[member] != member:
            parent[member] = member = parent[parent[member]]
        return member

    def join(self, one: int, two: int) -> bool:
        """Merge two members' sets; False if they were one already."""
        low, high = sorted((self.find(one), self.find(two)))
        self._parent[high] = low
        return low != high


def groups(measures: Iterable[Measured], findings: Iterable[Finding]) -> dict[str, str]:
    """The group of each record, by id: the first declared one of all that are joined with it.

    Args:
        measures: every record's, in order.
        findings: as ``cleaning.judge`` made them; those of duplicates join groups.
    """
    numbers: dict[str, int] = {}
    declared = {measured.id: numbers.setdefault(measured.group, len(numbers)) for measured in measures}
    names, unions = list(numbers), Unions(len(numbers))
    for finding in findings:
        if (other := linked(finding)) is not None:
            unions.join(declared[finding.record], declared[other])
    return {record: names[unions.find(number)] for record, number in declared.items()}
