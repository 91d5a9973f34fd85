"""Stage ``preprocess``: drop what was refused, split by group, train the tokenizer, write pixels and token ids."""

from __future__ import annotations

from pathlib import Path

from vlp import files, params
from vlp.data import preparation
from vlp.data.split import SplitParams
from vlp.params import Section
from vlp.preprocessing.image import ImageParams
from vlp.preprocessing.text import TextParams
from vlp.stages.base import run

INGESTED, VALIDATED, PREPARED = Path("data/ingested"), Path("data/validated"), Path("data/prepared")


class Params(Section):
    """The sections that this stage reads."""

    seed: int
    image: ImageParams
    text: TextParams
    split: SplitParams


def main() -> None:
    """Write ``data/prepared`` from ``data/ingested`` and ``data/validated``."""
    chosen = params.load(Params)
    with files.atomic(PREPARED, folder=True) as folder:
        preparation.run(
            INGESTED,
            VALIDATED,
            folder,
            seed=chosen.seed,
            image=chosen.image,
            text=chosen.text,
            split=chosen.split,
        )


if __name__ == "__main__":
    run(main)
