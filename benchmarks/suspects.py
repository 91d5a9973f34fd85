"""How well the pre-trained model finds mismatched pairs: 5 % of the pairs of the test split get others' captions.

    python benchmarks/suspects.py                  # after: dvc repro pretrain

The same as `vlp clean --probe 0.05 --split test`, by record (an image with all of its captions) and by caption. Only
captions that are false of the image, by the oracle of scenes, count as mismatched.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import harness
from vlp.data.loading import Prepared
from vlp.suspects.ranking import Level, probe
from vlp.suspects.scoring import scorer

LEVELS: tuple[Level, ...] = ("record", "caption")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/pretrained"))
    parser.add_argument("--data", type=Path, default=Path("data/prepared"))
    parser.add_argument("--share", type=float, default=0.05)
    arguments = parser.parse_args()
    prepared = Prepared(arguments.data)
    score, test = scorer(arguments.model, prepared), prepared.split("test")
    harness.write("suspects", {by: probe(test, score, arguments.share, 7, by) for by in LEVELS})


if __name__ == "__main__":
    main()
