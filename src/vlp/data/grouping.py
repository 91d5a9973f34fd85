"""Which records belong together: declared groups, joined wherever a duplicate links two of them.

No split may separate what is together here. Apart from ``cleaning``, so that a new rule of rejection does not
prepare anything again.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlp.records import Finding

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
        self._parent = array("q", range(size))

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


class Groups(NamedTuple):
    """The group of each record, by row."""

    numbers: np.ndarray
    """int32 [N], the same for records that belong together."""
    names: pa.Array
    """Of the groups, by number."""


def groups(declared: pa.ChunkedArray, ids: pa.ChunkedArray, findings: Iterable[Finding]) -> Groups:
    """The group of each record: the first declared one of all that are joined with it.

    Args:
        declared: group of each record.
        ids: id of each record.
        findings: as ``cleaning.judge`` made them; those of duplicates join groups.
    """
    links = [(finding.record, other) for finding in findings if (other := linked(finding)) is not None]
    encoded = declared.combine_chunks().dictionary_encode()
    numbers, unions = encoded.indices.to_numpy(), Unions(len(encoded.dictionary))
    rows = rows_of(ids, {record for link in links for record in link})
    for one, two in links:
        unions.join(int(numbers[rows[one]]), int(numbers[rows[two]]))
    joined = np.fromiter(map(unions.find, range(len(encoded.dictionary))), np.int32, len(encoded.dictionary))
    return Groups(joined[numbers], encoded.dictionary)


def rows_of(ids: pa.ChunkedArray, wanted: Collection[str]) -> dict[str, int]:
    """The row of each of the ``wanted`` ids.

    Raises:
        ValueError: there is no such record.
    """
    found = np.flatnonzero(pc.is_in(ids, value_set=pa.array(sorted(wanted), pa.string())).to_numpy())
    rows = {str(ids[int(row)]): int(row) for row in reversed(found)}
    if missing := sorted(set(wanted) - rows.keys()):
        raise ValueError(f"record {missing[0]!r}: findings name it, and there are no measures of it; validate again")
    return rows
