"""Stage ``validate``: measure and judge every record, report it; critical failures stop the pipeline here.

A run that was killed goes on at the last finished shard of measures.
"""

from __future__ import annotations

import logging
from collections import deque
from itertools import islice
from pathlib import Path

from vlp.stages.base import run
from vlp import files, params
from vlp.data import cleaning, expectations, judged, profile, quality, report, resume, review, shards, validated
from vlp.data.frames import frames, with_drift
from vlp.data.suite import ValidateParams
from vlp.params import Section
from vlp.preprocessing.image import ImageParams
from vlp.preprocessing.text import TextParams

INGESTED, VALIDATED, REVIEW = Path("data/ingested"), Path("data/validated"), review.REVIEW
REPORT, METRICS = Path("reports/validation.html"), Path("metrics/validation.json")

logger = logging.getLogger(__name__)


class Params(Section):
    """The sections that this stage reads."""

    image: ImageParams
    text: TextParams
    clean: cleaning.CleanParams
    validation: ValidateParams


def main() -> None:
    """Measure, judge, write what was found; stop last, so that a person can look at all of it."""
    chosen = params.load(Params)
    contents, collected = validated.Contents(), shards.open_table(INGESTED, "records")
    with resume.resumable(VALIDATED, resume.fingerprint(chosen.image, chosen.text, folders=(INGESTED,))) as folder:
        done = sum(shards.finished_shards(folder, judged.MEASURES_NAME))
        deque(contents.watch(islice(shards.read_records(INGESTED, images=False), done)), maxlen=0)
        records = contents.watch(shards.read_records(INGESTED, start=done))
        left = collected.num_rows - done
        judged.write_measures(folder, quality.measure_all(records, chosen.image, chosen.text, total=left))
        measures = judged.Measures(folder)
        findings = cleaning.judge(measures, chosen.clean, review.read_rejected(REVIEW))
        judged.write_findings(folder, findings)
        found = validated.verdicts(findings)
        laid = frames(measures, found, contents)
        described = profile.profile(laid, contents)
        files.write_json(folder / "profile.json", described)

    accepted, measures = review.read_accepted(REVIEW), judged.Measures(VALIDATED)
    moved = profile.drift(described, accepted) if accepted else []
    outcomes = expectations.check(with_drift(laid, moved), chosen.validation)
    whole = report.Validation(measures, findings, outcomes, contents, validated.counts(measures, found), moved)
    report.write(REPORT, whole, collected, chosen.image, chosen.validation)
    critical, warning = (expectations.failures(outcomes, severity) for severity in ("critical", "warning"))
    files.write_json(METRICS, whole.counts | {"critical_failures": len(critical), "warnings": len(warning)})

    if warning:
        logger.warning("%d expectations not met\n%s", len(warning), expectations.table(warning))
    expectations.enforce(outcomes, chosen.validation, REPORT)


if __name__ == "__main__":
    run(main)
