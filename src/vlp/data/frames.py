"""Measures and findings as tables that a suite of expectations can be held against.

Columns are mapped from files (``mapped``), parts of a table are taken a column at a time: memory holds some flags of a
record, whatever else there is of it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vlp.data import mapped
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


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a table. A column of them is made when it is asked for: all at once would be a second table."""

    table: pd.DataFrame
    which: np.ndarray
    """bool: a flag for each row of ``table``."""

    def __len__(self) -> int:
        return int(self.which.sum())

    def __getitem__(self, column: str) -> pd.Series[Any]:
        return self.table[column][self.which]

    @property
    def columns(self) -> pd.Index[str]:
        """The names of the columns."""
        return self.table.columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """The tables, each a part or a count of one validation."""

    records: pd.DataFrame
    """One row a record: ``COLUMNS``."""
    numbers: np.ndarray
    """uint64 [records]: a hash of each id."""
    images: Rows
    """Those of ``records`` whose image decodes."""
    kept: Rows
    """Those of ``records`` that are not rejected."""
    captions: pd.DataFrame
    """One row a caption that is left, of kept records: ``row`` of the record, ``words``, ``script``, ``hash``,
    ``repeated`` (another record has it too)."""
    labels: pd.DataFrame
    """One row a label: ``value``, ``share`` of the labelled records."""
    answers: pd.DataFrame
    """One row an answer: ``value``, ``share`` of the questions."""
    vocabulary: pd.DataFrame
    """One row, if there is any word: ``value``, ``share`` of the words that are said only once."""
    drift: pd.DataFrame
    """One row a distribution: ``value``, its name, and ``share``, how far it has moved from the accepted data set's;
    no row where no data set was accepted."""

    def named(self, name: str) -> pd.DataFrame | Rows:
        """The table of that name."""
        table: pd.DataFrame | Rows = getattr(self, name)
        return table

    @property
    def main_script(self) -> str:
        """The script of most captions; empty without captions."""
        counts = {str(name): int(count) for name, count in self.captions["script"].value_counts().items()}
        return max(counts, key=lambda script: (counts[script], script)) if counts else ""


_RECORDS: dict[str, mapped.Kind] = {
    **dict.fromkeys(("id", "group"), "text"),
    **dict.fromkeys(("split", "format", "mode"), "few"),
    **dict.fromkeys(("readable", "kept", "captioned"), np.bool_),
    **dict.fromkeys(("width", "height", "short_side", "captions"), np.int32),
    **dict.fromkeys(("sharpness", "contrast", "saturation"), np.float64),
    **dict.fromkeys(("pixel_hash", "number"), np.uint64),
    "file_bytes": np.int64,
}
_CAPTIONS: dict[str, mapped.Kind] = {
    "row": np.int32,
    "words": np.int32,
    "script": "few",
    "hash": np.uint64,
    "again": np.bool_,
}


def frames(measures: Iterable[Measured], found: Verdicts, contents: Contents) -> Frames:
    """Lay ``measures`` out as tables: on disk some 130 bytes a record and 20 a caption, in memory some flags.

    Args:
        measures: of every record; gone over twice.
        found: what is rejected and dropped.
        contents: what the records carry besides image and caption.
    """
    import pandas as pd

    made = mapped.columns((_row(each, found) for each in measures), _RECORDS)
    made["repeat"] = _repeats(made["readable"], made["pixel_hash"])
    kept = made["kept"]
    made["leaks"] = kept & (_apart(made, "group") | _apart(made, "pixel_hash"))
    records = pd.DataFrame({name: made[name] for name in COLUMNS}, copy=False)
    captions = mapped.columns(_captions(measures, found), _CAPTIONS)
    # What a record says twice is not repeated: another one must say it, too.
    again = captions.pop("again")
    captions["repeated"] = mapped.among(captions["hash"], mapped.several(captions["hash"][~again]))
    return Frames(
        records=records,
        numbers=made["number"],
        images=Rows(records, made["readable"]),
        kept=Rows(records, kept),
        captions=pd.DataFrame(captions, copy=False),
        labels=_shares(contents.labels, contents.labelled),
        answers=_shares(contents.answers, contents.answers.total()),
        vocabulary=_table([("words said once", contents.once_share)] if contents.words else []),
        drift=_table([]),
    )


def with_drift(laid: Frames, moved: Iterable[tuple[str, float]]) -> Frames:
    """``laid``, and how far each distribution has moved: ``profile.drift``."""
    return replace(laid, drift=_table(moved))


def _row(measured: Measured, found: Verdicts) -> tuple[Any, ...]:
    """One row of ``_RECORDS``."""
    left = len(measured.caption_words) - len(found.dropped_captions.get(measured.id, ()))
    return (
        *(measured.id, measured.group, measured.split, measured.format, measured.mode),
        *(measured.readable, measured.id not in found.rejected, left > 0),
        *(measured.width, measured.height, min(measured.width, measured.height), left),
        *(measured.sharpness, measured.contrast, measured.saturation),
        *(_number(measured.pixel_hash), _number(measured.id), measured.file_bytes),
    )


def _captions(measures: Iterable[Measured], found: Verdicts) -> Iterator[tuple[int, int, str, int, bool]]:
    """Rows of ``_CAPTIONS``."""
    for row, each in enumerate(measures):
        if each.id not in found.rejected:
            dropped = found.dropped_captions.get(each.id, ())
            said = set[str]()
            columns = zip(each.caption_words, each.caption_scripts, each.caption_hashes, strict=True)
            for index, (words, script, caption) in enumerate(columns):
                if index not in dropped:
                    yield row, words, script, _number(caption), caption in said
                    said.add(caption)


def _number(digest: str) -> int:
    """A number that stands for a hash, in an eighth of its memory."""
    return int.from_bytes(hashlib.blake2b(digest.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _repeats(readable: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Which pictures an earlier record has, too."""
    import pandas as pd

    found = mapped.among(pixels, mapped.several(pixels))
    found[found] = pd.Series(pixels[found]).duplicated()
    return found & readable


def _apart(made: dict[str, Any], column: str) -> np.ndarray:
    """Which records share ``column`` with one of another official split."""
    import pandas as pd

    official = made["kept"] & (made["split"].codes >= 0)
    if not official.any():
        return np.zeros(len(official), bool)
    table = pd.DataFrame({"value": made[column], "split": made["split"].codes}, copy=False)
    splits = table[official].groupby("value")["split"].nunique()
    return table["value"].isin(splits.index[splits > 1]).to_numpy(bool)


def _shares(counts: Counter[str], of: int) -> pd.DataFrame:
    return _table((value, count / of) for value, count in sorted(counts.items()))


def _table(rows: Iterable[tuple[str, float]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=["value", "share"])
