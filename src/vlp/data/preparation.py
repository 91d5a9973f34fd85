"""From validated records to what every task trains on: splits, a tokenizer, shards of examples, a summary.

Two passes over the records: one over the texts of the train split, which the tokenizer learns from; one that
decodes and writes. Both are done part by part (``prepared_rows``) by an engine: on this machine's cores, or on a
cluster's. Parts are put together in the records' order, so that every engine writes the same bytes. Memory grows with
the number of records by an id, a group and a split each, never by an image. A run that was killed goes on at the last
finished shard of each split.

``summary.json`` holds what the shards do (``summary``), records and groups of each split, ``lost``, how many records
for which reason, and ``texts_cut``, how many texts lost tokens to ``max_tokens``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from vlp.data import examples, shards
from vlp.data.fates import Fates, decide
from vlp.data.prepared_rows import Fated, Part, PreparationError, count_words, prepare_rows
from vlp.data.split import SPLITS, SplitParams
from vlp.data.summary import summarise
from vlp.files import atomic, write_json, write_jsonl
from vlp.preprocessing import text as texts
from vlp.preprocessing.image import ImageParams
from vlp.preprocessing.text import TextParams
from vlp.progress import track
from vlp.records import Finding

Result = TypeVar("Result")
SUMMARY = "summary.json"
NOTES = ".*-[0-9][0-9][0-9][0-9][0-9].json"
"""Hidden files of what the records of each shard lost, for a run that goes on."""


class Engine(Protocol):
    """Where parts are made: ``vlp/data/engines``; entered before the first one and left after the last."""

    rows: int
    """Most rows of a part."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *fault: object) -> None: ...

    def map(self, function: Callable[..., Result], parts: Iterable[tuple[Slice, Fated]]) -> Iterator[Result]:
        """``function(slice.table(), fates)`` of every part, in order; few are in memory at a time."""


class Slice(NamedTuple):
    """Some rows of one ingested shard, and where they stand among all rows."""

    path: Path
    start: int
    rows: int
    first: int

    def table(self) -> pa.Table:
        """The rows, memory-mapped."""
        return shards.open_shard(self.path).slice(self.start, self.rows)


def run(
    ingested: Path,
    validated: Path,
    out: Path,
    *,
    seed: int,
    image: ImageParams,
    text: TextParams,
    split: SplitParams,
    engine: Engine,
) -> None:
    """Write ``out``: shards of each split, ``tokenizer/tokenizer.json``, ``rejects.jsonl``, ``summary.json``.

    Args:
        ingested: shards of records.
        validated: their measures and findings.
        out: a folder, empty or as a killed run with the same arguments left it.
        seed: of the split.
        image: as validation used it.
        text: as validation used it.
        split: shares of the groups.
        engine: where the parts are made.

    Raises:
        ValueError: no record is left, a split would be empty, or the folders do not fit together.
    """
    if (out / SUMMARY).is_file():  # all is written but for the notes that a killed run could not remove any more
        _forget(out)
        return
    fates = decide(validated, seed, split)
    _check_ids(ingested, validated, fates)
    with engine as workers:

        def parts(function: Callable[..., Result], wanted: np.ndarray, what: str) -> Iterator[tuple[Slice, Result]]:
            some = [each for each in _slices(ingested, workers.rows) if wanted[each.first :][: each.rows].any()]
            fated = ((each, _fated(fates, each, wanted)) for each in some)
            made = zip(some, workers.map(function, fated), strict=True)
            yield from _ticking(made, what, sum(each.rows for each in some))

        tokenizer = _tokenizer(out, fates, text, parts)
        with ExitStack() as stack:
            outputs = [stack.enter_context(_Output(out, name, fates)) for name in SPLITS]
            left = fates.splits >= 0
            for output in outputs:
                left[output.rows[: output.files.count]] = False
            function = partial(prepare_rows, image=image, text=text, tokenizer=tokenizer.to_str())
            for each, part in parts(function, left, "records prepared"):
                for output in outputs:
                    output.add(each, part)
    notes = [note for output in outputs for note in output.notes()]
    findings = [
        *fates.lost,
        *(Finding(**row) for _, _, lost in sorted(notes, key=lambda note: note[0]) for row in lost),
    ]
    write_jsonl(out / "rejects.jsonl", map(asdict, findings))
    cut = sum(count for _, count, _ in notes)
    write_json(out / SUMMARY, _summary(out, fates, findings, cut, tokenizer, image, text))
    _forget(out)


def _check_ids(ingested: Path, validated: Path, fates: Fates) -> None:
    first = 0
    for path in shards.paths(ingested, "records"):
        ids = shards.open_shard(path).column("id")
        if not ids.equals(fates.ids.slice(first, len(ids))):
            break
        first += len(ids)
    else:
        if first == len(fates):
            return
    kept = int((fates.splits >= 0).sum())
    raise PreparationError(f"{validated}: {kept} records kept, but {ingested} has other ones; validate again")


def _slices(ingested: Path, rows: int) -> Iterator[Slice]:
    """All rows, ``rows`` at a time; none reaches over the end of a shard."""
    first = 0
    for path in shards.paths(ingested, "records"):
        count = shards.open_shard(path).num_rows
        for start in range(0, count, rows):
            yield Slice(path, start, min(rows, count - start), first + start)
        first += count


def _fated(fates: Fates, some: Slice, wanted: np.ndarray) -> Fated:
    return [fates.of(row) if wanted[row] else None for row in range(some.first, some.first + some.rows)]


def _ticking(made: Iterator[tuple[Slice, Result]], what: str, total: int) -> Iterator[tuple[Slice, Result]]:
    """``made``, its progress told in records."""

    def ticks() -> Iterator[tuple[Slice, Result] | None]:
        for some, result in made:
            yield some, result
            yield from [None] * (some.rows - 1)

    yield from (each for each in track(ticks(), what, total) if each is not None)


def _tokenizer(out: Path, fates: Fates, text: TextParams, parts: Callable[..., Iterator[Any]]) -> Tokenizer:
    """The given tokenizer, or one of the train split's texts; written once."""
    path = out / "tokenizer" / "tokenizer.json"
    if path.is_file():
        return texts.load_tokenizer(path)
    if text.tokenizer:
        tokenizer = texts.load_tokenizer(text.tokenizer)
    else:
        counts: Counter[str] = Counter()
        for _, some in parts(partial(count_words, text=text), fates.splits == SPLITS.index("train"), "records read"):
            counts.update(some)
        tokenizer = texts.learn_tokenizer(counts, text)
    with atomic(path) as unfinished:
        unfinished.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    return tokenizer


def _forget(out: Path) -> None:
    """Remove the notes of all outputs. The summary is there by then, so that no run looks for notes again."""
    for note in sorted(out.glob(NOTES)):
        note.unlink()


class _Output:
    """The shards of one split, and notes of what their records lost, a hidden file beside each shard.

    Args:
        folder: where.
        split: its name.
        fates: of all records.
    """

    def __init__(self, folder: Path, split: str, fates: Fates) -> None:
        self.folder, self.split = folder, split
        self.rows = np.flatnonzero(fates.splits == SPLITS.index(split))
        """The records of this split, in the order of its shards."""
        self.files = shards.Files(folder, split, examples.EXAMPLES, self._finished)
        self._waiting: list[pa.RecordBatch] = []
        self._notes: list[tuple[int, int, list[dict[str, Any]]]] = []

    def add(self, some: Slice, part: Part) -> None:
        """Append the examples of a part."""
        batch = part.batches.get(self.split)
        if batch is None:
            return
        mine = set(self.rows[np.searchsorted(self.rows, some.first) :][: some.rows].tolist())
        for row in sorted(part.lost.keys() | part.cut.keys()):
            if some.first + row in mine:
                lost = [asdict(finding) for finding in part.lost.get(row, [])]
                self._notes.append((some.first + row, part.cut.get(row, 0), lost))
        self._waiting.append(batch)
        while sum(map(len, self._waiting)) >= shards.ROWS_PER_BATCH:
            self._flush(shards.ROWS_PER_BATCH)

    def _flush(self, rows: int) -> None:
        """Write the first of the waiting rows as one batch, whatever parts they came in."""
        table = pa.Table.from_batches(self._waiting)
        for batch in table.slice(0, rows).combine_chunks().to_batches():
            self.files.write(batch)
        self._waiting = [batch for batch in table.slice(rows).to_batches() if len(batch)]

    def _finished(self, shard: int) -> None:
        last = self.rows[self.files.count - 1] if self.files.count else -1
        told = [note for note in self._notes if note[0] <= last]
        self._notes = [note for note in self._notes if note[0] > last]
        self._note(shard).write_text(json.dumps(told, ensure_ascii=True), encoding="utf-8")

    def _note(self, shard: int) -> Path:
        return self.folder / f".{self.split}-{shard:05d}.json"

    def notes(self) -> Iterator[tuple[int, int, list[dict[str, Any]]]]:
        """Row, texts cut and findings of every record that lost something."""
        for shard in range(self.files.shard):
            yield from map(tuple, json.loads(self._note(shard).read_text(encoding="utf-8")))

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, fault: object, *_: object) -> None:
        if fault is None and self._waiting:
            self._flush(shards.ROWS_PER_BATCH)
        self.files.close(whole=fault is None)


def _summary(
    out: Path,
    fates: Fates,
    findings: list[Finding],
    cut: int,
    tokenizer: Tokenizer,
    image: ImageParams,
    text: TextParams,
) -> dict[str, Any]:
    summary = summarise(out, tokenizer, image_size=image.size, max_tokens=text.max_tokens)
    for place, name in enumerate(SPLITS):
        mine = fates.splits == place
        summary["splits"][name] |= {"records": int(mine.sum()), "groups": len(np.unique(fates.groups.numbers[mine]))}
    lost = {
        action: dict(Counter(finding.reason for finding in findings if finding.action == action))
        for action in ("rejected", "dropped")
    }
    return {**summary, "lost": lost, "texts_cut": cut}
