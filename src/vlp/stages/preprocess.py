"""Stage ``preprocess``: drop what was refused, split by group, train the tokenizer, write pixels and token ids.

A run that was killed goes on at its last finished shards.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from vlp.stages.base import run
from vlp import params, plugins
from vlp.data import preparation, resume
from vlp.data.split import SplitParams
from vlp.params import Section
from vlp.preprocessing import text as texts
from vlp.preprocessing.image import ImageParams
from vlp.preprocessing.text import TextParams

INGESTED, VALIDATED, PREPARED = Path("data/ingested"), Path("data/validated"), Path("data/prepared")
ENGINES = "vlp.data.engines"


class PreprocessParams(Section):
    """``preprocess``: where the work is done; what is written does not depend on it."""

    engine: str = Field("local", description="a file of src/vlp/data/engines")


class Params(Section):
    """The sections that this stage reads, besides the chosen engine's own."""

    seed: int
    image: ImageParams
    text: TextParams
    split: SplitParams
    preprocess: PreprocessParams


def main() -> None:
    """Write ``data/prepared`` from ``data/ingested`` and ``data/validated``."""
    chosen = params.load(Params)
    engine = plugins.find(ENGINES, chosen.preprocess.engine)
    options = params.load_section(f"engines.{chosen.preprocess.engine}", engine.Params)
    # A vocabulary that is mended in its place keeps its path.
    given = texts.load_tokenizer(chosen.text.tokenizer).to_str() if chosen.text.tokenizer else None
    settings = (chosen.seed, chosen.image, chosen.text, chosen.split, given)
    key = resume.fingerprint(*settings, folders=(INGESTED, VALIDATED))
    with resume.resumable(PREPARED, key) as folder:
        preparation.run(
            INGESTED,
            VALIDATED,
            folder,
            seed=chosen.seed,
            image=chosen.image,
            text=chosen.text,
            split=chosen.split,
            engine=engine.Engine(options),
        )


if __name__ == "__main__":
    run(main)
