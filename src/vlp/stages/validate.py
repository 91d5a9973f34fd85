"""Stage ``validate``: measure and judge every record, report it; critical failures stop the pipeline here."""

from __future__ import annotations

import logging
from pathlib import Path

from vlp import files, params
from vlp.data import cleaning, expectations, judged, quality, report, shards, validated
from vlp.data.frames import frames
from vlp.data.suite import ValidateParams
from vlp.params import Section
from vlp.preprocessing.image import ImageParams
from vlp.preprocessing.text import TextParams
from vlp.stages.base import run

INGESTED, VALIDATED = Path("data/ingested"), Path("data/validated")
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
    records = contents.watch(shards.read_records(INGESTED))
    measures = list(quality.measure_all(records, chosen.image, chosen.text, total=collected.num_rows))
    findings = cleaning.judge(measures, chosen.clean)
    found = validated.verdicts(findings)
    outcomes = expectations.check(frames(measures, found, contents), chosen.validation)
    whole = report.Validation(measures, findings, outcomes, contents, validated.counts(measures, found))

    with files.atomic(VALIDATED, folder=True) as folder:
        judged.write_measures(folder, measures)
        judged.write_findings(folder, findings)
    report.write(REPORT, whole, collected, chosen.image, chosen.validation)
    critical, warning = (expectations.failures(outcomes, severity) for severity in ("critical", "warning"))
    files.write_json(METRICS, whole.counts | {"critical_failures": len(critical), "warnings": len(warning)})

    if warning:
        logger.warning("%d expectations not met\n%s", len(warning), expectations.table(warning))
    expectations.enforce(outcomes, chosen.validation, REPORT)


if __name__ == "__main__":
    run(main)
