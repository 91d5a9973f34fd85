"""Stage ``ingest``: the source's records, exactly as collected, and the faults that it injected, if any.

A run that was killed goes on at its last finished shard, if the source still begins with what is in it.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from vlp.stages.base import run
from vlp import files, params, plugins
from vlp.data import collecting, resume
from vlp.params import Section

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


def main() -> None:
    """Read the records of ``ingest.source`` below ``ingest.root``."""
    chosen = params.load(Params)
    source = plugins.find(SOURCES, chosen.ingest.source)
    options = params.load_section(f"sources.{chosen.ingest.source}", source.Params)
    key = resume.fingerprint(chosen, options, folders=(chosen.ingest.root,))
    with resume.resumable(RECORDS, key) as folder:
        if not collecting.collect(folder, source, chosen.ingest.root, options, chosen.seed):
            raise ValueError(f"{chosen.ingest.source}: no record below {chosen.ingest.root}")
    faults = getattr(source, "injected_faults", None)
    files.write_jsonl(FAULTS, faults(options, chosen.seed) if faults else ())


if __name__ == "__main__":
    run(main)
