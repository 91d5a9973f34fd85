"""Stage ``ingest``: the source's records, exactly as collected, and the faults that it injected, if any.

A run that was killed goes on at its last finished shard.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType

from pydantic import Field

from vlp import files, params, plugins
from vlp.data import resume, shards
from vlp.params import Section
from vlp.progress import track
from vlp.records import Record
from vlp.stages.base import run

SOURCES = "vlp.data.sources"
RECORDS, FAULTS = Path("data/ingested"), Path("data/injected_faults.jsonl")


class IngestParams(Section):
    """``ingest``: where the data comes from."""

    source: str = Field(description="a file of src/vlp/data/sources")
    root: Path = Field(description="folder of the raw files, for sources that read any")


class Params(Section):
    """The sections that this stage reads, besides the chosen source's own."""

    seed: int
    ingest: IngestParams


def unique(records: Iterable[Record], before: Iterable[str] = ()) -> Iterator[Record]:
    """``records``, as long as no two share an id, nor one of those ``before``; memory holds the ids."""
    first = {record: number for number, record in enumerate(before, start=1)}
    for number, record in enumerate(records, start=len(first) + 1):
        if (earlier := first.setdefault(record.id, number)) != number:
            raise ValueError(f"records {earlier} and {number} share the id {record.id!r}; every record needs its own")
        yield record


def _read(source: ModuleType, root: Path, options: Section, seed: int, start: int) -> Iterator[Record]:
    """The source's records from number ``start`` on; a source that cannot begin there is read from its beginning."""
    if "start" in inspect.signature(source.read).parameters:
        return iter(source.read(root, options, seed, start=start))
    return islice(source.read(root, options, seed), start, None)


def main() -> None:
    """Read the records of ``ingest.source`` below ``ingest.root``."""
    chosen = params.load(Params)
    source = plugins.find(SOURCES, chosen.ingest.source)
    options = params.load_section(f"sources.{chosen.ingest.source}", source.Params)
    key = resume.fingerprint(chosen, options, folders=(chosen.ingest.root,))
    with resume.resumable(RECORDS, key) as folder:
        done = shards.open_table(folder, "records") if shards.finished_shards(folder, "records") else None
        ids = [] if done is None else done.column("id").to_pylist()
        records = track(_read(source, chosen.ingest.root, options, chosen.seed, len(ids)), "records")
        if not shards.write_records(folder, unique(records, ids)):
            raise ValueError(f"{chosen.ingest.source}: no record below {chosen.ingest.root}")
    faults = getattr(source, "injected_faults", None)
    files.write_jsonl(FAULTS, faults(options, chosen.seed) if faults else ())


if __name__ == "__main__":
    run(main)
