"""What people decided about the data: the pairs that they rejected, and the last data set that they accepted."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vlp.files import lines, write_json, write_jsonl

REVIEW = Path("review")
REJECTED, ACCEPTED = "rejected.jsonl", "accepted.json"
_FIELD = re.compile(r"record|captions\[\d+\]")


class ReviewError(ValueError):
    """A file of ``review/`` cannot be read."""


def read_rejected(folder: Path = REVIEW) -> dict[str, dict[str, str]]:
    """What was noted of each rejected pair, by record and field; empty where nothing was rejected.

    Raises:
        ReviewError: a line is no object with ``record`` and ``field``, or the field is none that can be rejected.
    """
    path = folder / REJECTED
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    if not path.is_file():
        return {}
    for number, line in lines(path):
        try:
            row = json.loads(line)
            record, field = row["record"], row.get("field", "record")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ReviewError(f'{path}:{number}: expected {{"record": "…", "field": "captions[0]"}}') from None
        if not isinstance(record, str) or not isinstance(field, str) or not _FIELD.fullmatch(field):
            raise ReviewError(f"{path}:{number}: record {record!r}: field {field!r} is none of record, captions[…]")
        score = row.get("score")
        noted = str(row.get("note") or "rejected in review")
        found[record][field] = f"{noted}, score {score:.3f}" if isinstance(score, int | float) else noted
    return dict(found)


def write_rejected(rows: Iterable[dict[str, Any]], folder: Path = REVIEW) -> int:
    """Write ``rejected.jsonl``; returns how many lines."""
    return write_jsonl(folder / REJECTED, rows)


def read_accepted(folder: Path = REVIEW) -> dict[str, Any] | None:
    """The profile of the last accepted data set; None where there is none yet.

    Raises:
        ReviewError: it is no JSON object.
    """
    path = folder / ACCEPTED
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReviewError(f"{path}: not JSON ({error}); write it anew: vlp accept") from None
    if not isinstance(found, dict):
        raise ReviewError(f"{path}: not a profile; write it anew: vlp accept")
    return found


def accept(profile: Path, folder: Path = REVIEW) -> dict[str, Any]:
    """Make the data set that ``profile`` describes the accepted one; returns the profile.

    Raises:
        ReviewError: there is no such profile.
    """
    if not profile.is_file():
        raise ReviewError(f"{profile}: no such file; run the validate stage first")
    found: dict[str, Any] = json.loads(profile.read_text(encoding="utf-8"))
    write_json(folder / ACCEPTED, found)
    return found
