"""Measures and findings as tables that a suite of expectations can be held against."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

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
    vocabulary: pd.DataFrame
    """One row, if there is any word: ``value``, ``share`` of the words that are said only once."""
    drift: pd.DataFrame
    """One row a distribution: ``value``, its name, and ``share``, how far it has moved from the accepted data set's;
    no row where no data set was accepted."""

    def named(self, name: str) -> pd.DataFrame:
        """The table of that name."""
        table: pd.DataFrame = getattr(self, name)
        return table

    @property
    def main_script(self) -> str:
        """The script of most captions; empty without captions."""
        counts = Counter(self.captions["script"])
        return max(counts, key=lambda script: (counts[script], script)) if counts else ""


_text, _few = pa.string(), pa.dictionary(pa.int32(), pa.string())
_RECORDS = pa.schema(
    [("id", _text), ("group", _text), ("split", _few), ("readable", pa.bool_()), ("format", _few), ("mode", _few)]
    + [(name, pa.int32()) for name in ("width", "height", "short_side")]
    + [("file_bytes", pa.int64())]
    + [(name, pa.float64()) for name in ("sharpness", "contrast", "saturation")]
    + [("pixel_hash", pa.uint64()), ("kept", pa.bool_()), ("captions", pa.int32()), ("captioned", pa.bool_())]
)
_CAPTIONS = pa.schema([("row", pa.int32()), ("words", pa.int32()), ("script", _few), ("hash", pa.uint64())])
_ROWS_AT_ONCE = 1 << 14


def frames(measures: Iterable[Measured], found: Verdicts, contents: Contents) -> Frames:
    """Lay ``measures`` out as tables: some 150 bytes a record, and 20 a caption.

    Args:
        measures: of every record; gone over twice.
        found: what is rejected and dropped.
        contents: what the records carry besides image and caption.
    """
    import pandas as pd

    records = _frame((_row(each, found) for each in measures), _RECORDS)
    images = records["readable"].astype(bool)
    records["repeat"] = images & records["pixel_hash"].duplicated()
    kept = records["kept"].astype(bool)
    records["leaks"] = kept & (_apart(records, kept, "group") | _apart(records, kept, "pixel_hash"))
    records = records[list(COLUMNS)]
    captions = _frame(_captions(measures, found), _CAPTIONS)
    owners = captions[["row", "hash"]].drop_duplicates()["hash"]
    captions["repeated"] = captions["hash"].isin(owners[owners.duplicated()])
    ids = pd.Index(records["id"])
    at = captions.pop("row").to_numpy()
    captions["id"] = pd.Categorical.from_codes(at, ids) if ids.is_unique else ids.take(at)
    return Frames(
        records=records,
        images=records[images],
        kept=records[kept],
        captions=captions,
        labels=_shares(contents.labels, contents.labelled),
        answers=_shares(contents.answers, contents.answers.total()),
        vocabulary=_table([("words said once", contents.once_share)] if contents.words else []),
        drift=_table([]),
    )


def with_drift(laid: Frames, moved: Iterable[tuple[str, float]]) -> Frames:
    """``laid``, and how far each distribution has moved: ``profile.drift``."""
    return replace(laid, drift=_table(moved))


def _frame(rows: Iterable[tuple[Any, ...]], schema: pa.Schema) -> pd.DataFrame:
    """``rows`` as a frame, with few of them as Python objects at a time."""
    rows, batches = iter(rows), []
    while some := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        columns = zip(*some, strict=True)
        batches.append(pa.RecordBatch.from_arrays([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)],
                                                  schema=schema))  # fmt: skip
    return pa.Table.from_batches(batches, schema).unify_dictionaries().to_pandas(self_destruct=True)


def _row(measured: Measured, found: Verdicts) -> tuple[Any, ...]:
    """One row of ``_RECORDS``."""
    left = len(measured.caption_words) - len(found.dropped_captions.get(measured.id, ()))
    return (
        *(measured.id, measured.group, measured.split, measured.readable, measured.format, measured.mode),
        *(measured.width, measured.height, min(measured.width, measured.height), measured.file_bytes),
        *(measured.sharpness, measured.contrast, measured.saturation),
        *(_number(measured.pixel_hash), measured.id not in found.rejected, left, left > 0),
    )


def _captions(measures: Iterable[Measured], found: Verdicts) -> Iterator[tuple[int, int, str, int]]:
    """Rows of ``_CAPTIONS``."""
    for row, each in enumerate(measures):
        if each.id not in found.rejected:
            dropped = found.dropped_captions.get(each.id, ())
            columns = zip(each.caption_words, each.caption_scripts, each.caption_hashes, strict=True)
            for index, (words, script, caption) in enumerate(columns):
                if index not in dropped:
                    yield row, words, script, _number(caption)


def _number(digest: str) -> int:
    """A number that stands for a hash, in an eighth of its memory."""
    return int.from_bytes(hashlib.blake2b(digest.encode(), digest_size=8).digest())


def _apart(records: pd.DataFrame, kept: pd.Series[bool], column: str) -> pd.Series[bool]:
    """Which records share ``column`` with one of another official split."""
    splits = records[kept & records["split"].notna()].groupby(column)["split"].nunique()
    return records[column].isin(splits.index[splits > 1])


def _shares(counts: Counter[str], of: int) -> pd.DataFrame:
    return _table((value, count / of) for value, count in sorted(counts.items()))


def _table(rows: Iterable[tuple[str, float]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=["value", "share"])
