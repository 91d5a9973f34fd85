"""The words that a prediction is about, from the prepared test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from vlp.report.markdown import plain


class Statements:
    """Captions of prepared records, by record.

    Args:
        shards: Arrow files of one split, in order; none where they are not in the cache.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self._shards = shards

    def of(self, row: Mapping[str, Any]) -> str:
        """The statement of a prediction's ``record`` and ``caption``, and its false edit; empty if not known."""
        place, captions = row.get("caption"), self._captions.get(str(row.get("record")))
        if not isinstance(place, int) or captions is None or place >= len(captions):
            return ""
        caption = captions[place].as_py()
        edit = f" / *{plain(caption['negative'])}*" if caption.get("negative") else ""
        return plain(caption["text"]) + edit

    @cached_property
    def _captions(self) -> dict[str, Any]:
        import pyarrow as pa  # here: a report without predictions needs no Arrow

        found: dict[str, Any] = {}
        for path in self._shards:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all().select(["id", "captions"])
            found |= dict(zip(table["id"].to_pylist(), table["captions"], strict=True))
        return found
