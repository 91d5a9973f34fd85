"""Stage ``ingest``: the source's records, exactly as collected, and the faults that it injected, if any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import Field

from vlp import files, params, plugins
from vlp.data import shards
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


def unique(records: Iterable[Record]) -> Iterator[Record]:
    """``records``, as long as no two share an id; memory holds the ids."""
    first: dict[str, int] = {}
    for number, record in enumerate(records, start=1):
        if (earlier := first.setdefault(record.id, number)) != number:
            raise ValueError(f"records {earlier} and {number} share the id {record.id!r}; every record needs its own")
        yield record


def main() -> None:
    """Read the records of ``ingest.source`` below ``ingest.root``."""
    chosen = params.load(Params)
    source = plugins.find(SOURCES, chosen.ingest.source)
    options = params.load_section(f"sources.{chosen.ingest.source}", source.Params)
    with files.atomic(RECORDS, folder=True) as folder:
        records = source.read(chosen.ingest.root, options, chosen.seed)
        if not shards.write_records(folder, unique(track(records, "records"))):
            raise ValueError(f"{chosen.ingest.source}: no record below {chosen.ingest.root}")
    faults = getattr(source, "injected_faults", None)
    files.write_jsonl(FAULTS, faults(options, chosen.seed) if faults else ())


if __name__ == "__main__":
    run(main)
