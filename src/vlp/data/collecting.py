"""From a source to shards of records, also where an earlier run was killed half-way.

What that run finished is gone on with only as long as the source still begins with it: the key of ``resume`` tells
when files below the root have changed, but nobody tells when those of a remote have.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from vlp.data import shards
from vlp.params import Section
from vlp.progress import track
from vlp.records import Record

NAME = "records"

logger = logging.getLogger(__name__)


class ChangedError(ValueError):
    """A source no longer begins with the records that an unfinished run took from it."""


def collect(folder: Path, source: ModuleType, root: Path, options: Section, seed: int) -> int:
    """Write the records of ``source`` into ``folder``, after those that lie there; returns how many there are then.

    Where the source has changed, everything is read anew: records of two states of it must not be mixed.

    Args:
        folder: empty, or as a killed run with the same arguments left it.
        source: a module of ``vlp/data/sources``.
        root: of the raw files.
        options: the source's section.
        seed: of what the source draws by chance.

    Raises:
        ValueError: two records share an id, or what the source raises.
    """
    try:
        return _collect(folder, source, root, options, seed)
    except ChangedError as changed:
        logger.warning("%s; reading everything anew", changed)
        shards.remove(folder, NAME)
        return _collect(folder, source, root, options, seed)


def _collect(folder: Path, source: ModuleType, root: Path, options: Section, seed: int) -> int:
    done = shards.open_table(folder, NAME) if shards.finished_shards(folder, NAME) else None
    ids = [] if done is None else done.column("id").to_pylist()
    if len(ids) and not _can_begin_at(source, options):
        records = after(shards.read_records(folder), iter(source.read(root, options, seed)))
        if len(ids) % shards.ROWS_PER_SHARD:
            records = _nothing_more(records, len(ids))
    elif len(ids):
        records = iter(source.read(root, options, seed, start=len(ids)))
    else:
        records = iter(source.read(root, options, seed))
    return shards.write_records(folder, unique(track(records, NAME), ids))


def _can_begin_at(source: ModuleType, options: Section) -> bool:
    """Whether records can be passed over unread: the source knows how, and its files are those of the first run."""
    return "start" in inspect.signature(source.read).parameters and getattr(options, "remote", None) is None


def after(done: Iterable[Record], records: Iterator[Record]) -> Iterator[Record]:
    """Those of ``records`` that come after ``done``, all of which they begin with.

    Raises:
        ChangedError: they begin otherwise.
    """
    for number, earlier in enumerate(done, start=1):
        now = next(records, None)
        if now != earlier:
            what = "is gone" if now is None else "is another one" if now.id != earlier.id else "has changed"
            raise ChangedError(f"record {number}, {earlier.id!r}, {what} since the run that was not finished")
    yield from records


def _nothing_more(records: Iterator[Record], before: int) -> Iterator[Record]:
    """Nothing, after a shard that is not full: it was the last, so whatever follows is new."""
    for record in records:
        raise ChangedError(f"record {before + 1}, {record.id!r}, is new since the run that was not finished")
    yield from ()


def unique(records: Iterable[Record], before: Iterable[str] = ()) -> Iterator[Record]:
    """``records``, as long as no two share an id, nor one of those ``before``; memory holds the ids.

    Raises:
        ValueError: two do; the message numbers them.
    """
    first = {record: number for number, record in enumerate(before, start=1)}
    for number, record in enumerate(records, start=len(first) + 1):
        if (earlier := first.setdefault(record.id, number)) != number:
            raise ValueError(f"records {earlier} and {number} share the id {record.id!r}; every record needs its own")
        yield record
