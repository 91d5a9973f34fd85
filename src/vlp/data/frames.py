"""Measures and findings as tables that a suite of expectations can be held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlp.data.validated import Contents, Verdicts
from vlp.records import Measured

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("id", "group", "split", "readable", "format", "mode", "width", "height", "short_side", "file_bytes"),
    *("sharpness", "contrast", "saturation", "pixel_hash", "repeat", "kept", "captions", "captioned", "leaks"),
)
"""Columns of ``Frames.records``. Derived ones: ``short_side`` (pixels), ``repeat`` (an earlier image has the same
prepared pixels), ``kept`` (not rejected), ``captions`` (those left), ``captioned`` (one is left), ``leaks`` (kept, and
its group or its pixels are also in another official split)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """The tables, each a part or a count of one validation."""

    records: pd.DataFrame
    """One row a record: ``COLUMNS``."""
    images: pd.DataFrame
    """Those of ``records`` whose image decodes."""
    kept: pd.DataFrame
    """Those of ``records`` that are not rejected."""
    captions: pd.DataFrame
    """One row a caption that is left, of kept records: ``id`` of the record, ``words``, ``script``, ``hash``,
    ``repeated`` (another record has it too)."""
    labels: pd.DataFrame
    """One row a label: ``value``, ``share`` of the labelled records."""
    answers: pd.DataFrame
    """One row an answer: ``value``, ``share`` of the questions."""

    def named(self, name: str) -> pd.DataFrame:
        """The table of that name."""
        table: pd.DataFrame = getattr(self, name)
        return table

    @property
    def main_script(self) -> str:
        """The script of most captions; empty without captions."""
        counts = Counter(self.captions["script"])
        return max(counts, key=lambda script: (counts[script], script)) if counts else ""


def frames(measures: Sequence[Measured], found: Verdicts, contents: Contents) -> Frames:
    """Lay ``measures`` out as tables.

    Args:
        measures: of every record.
        found: what is rejected and dropped.
        contents: what the records carry besides image and caption.
    """
    import pandas as pd

    records = pd.DataFrame([_row(each, found) for each in measures], columns=list(COLUMNS))
    images = records["readable"].astype(bool)
    records["repeat"] = images & records["pixel_hash"].duplicated()
    kept = records["kept"].astype(bool)
    records["leaks"] = kept & (_apart(records, kept, "group") | _apart(records, kept, "pixel_hash"))
    captions = pd.DataFrame(_captions(measures, found), columns=["id", "words", "script", "hash"])
    owners = captions.drop_duplicates(["id", "hash"])["hash"].value_counts()
    captions["repeated"] = captions["hash"].map(owners) > 1
    return Frames(
        records=records,
        images=records[images],
        kept=records[kept],
        captions=captions,
        labels=_shares(contents.labels, contents.labelled),
        answers=_shares(contents.answers, contents.answers.total()),
    )


def _row(measured: Measured, found: Verdicts) -> dict[str, Any]:
    left = len(measured.caption_words) - len(found.dropped_captions.get(measured.id, ()))
    row = {name: getattr(measured, name) for name in COLUMNS if hasattr(measured, name)}
    return row | {
        "short_side": min(measured.width, measured.height),
        "kept": measured.id not in found.rejected,
        "captions": left,
        "captioned": left > 0,
    }


def _captions(measures: Sequence[Measured], found: Verdicts) -> Iterator[tuple[str, int, str, str]]:
    for each in measures:
        if each.id not in found.rejected:
            dropped = found.dropped_captions.get(each.id, set())
            columns = zip(each.caption_words, each.caption_scripts, each.caption_hashes, strict=True)
            yield from ((each.id, *cells) for index, cells in enumerate(columns) if index not in dropped)


def _apart(records: pd.DataFrame, kept: pd.Series[bool], column: str) -> pd.Series[bool]:
    """Which records share ``column`` with one of another official split."""
    splits = records[kept & records["split"].notna()].groupby(column)["split"].nunique()
    return records[column].isin(splits.index[splits > 1])


def _shares(counts: Counter[str], of: int) -> pd.DataFrame:
    import pandas as pd

    rows = [(value, count / of) for value, count in sorted(counts.items())]
    return pd.DataFrame(rows, columns=["value", "share"])
