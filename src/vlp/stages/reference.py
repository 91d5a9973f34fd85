"""Stage ``reference``: what served records would be if requests were like the test split; drift is measured from it."""

from __future__ import annotations

import logging
from pathlib import Path

from vlp.stages.base import run
from vlp import params as parameters
from vlp.drift import reference
from vlp.drift.records import MATCHING
from vlp.drift.settings import DriftParams
from vlp.files import atomic, write_json, write_jsonl
from vlp.params import Section
from vlp.runtime.predictor import Predictor

PREPARED, BUNDLE = Path("data/prepared"), Path("models/bundle")
REPORTS, METRICS = Path("reports/reference"), Path("metrics/drift.json")

logger = logging.getLogger(__name__)


class Params(Section):
    """The sections this stage reads."""

    seed: int
    drift: DriftParams


def main() -> None:
    """Measure and answer the drawn records; write them, their summary and the false alarms of the chosen limits."""
    chosen = parameters.load(Params)
    predictor = Predictor.open(BUNDLE)
    rows = []
    if MATCHING in predictor.tasks:
        rows = list(reference.build(PREPARED, predictor, chosen.drift, chosen.seed))
    else:
        logger.warning("the bundle answers no %s: there is no drift to measure", MATCHING)
    with atomic(REPORTS, folder=True) as folder:
        write_jsonl(folder / "served.jsonl", (row.to_row() for row in rows))
        write_json(folder / "summary.json", reference.summary(rows) if rows else {})
    share = reference.false_alarm_share(rows, chosen.drift, chosen.seed) if rows else None
    write_json(METRICS, {"records": len(rows), "false_alarm_share": share})


if __name__ == "__main__":
    run(main)
