"""``evaluate@task``: one trained task, measured on the test split."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import Field, field_validator

from vlp.stages.base import run
from vlp import params as parameters
from vlp import plugins
from vlp.allocation import keep_freed_memory
from vlp.data.loading import Prepared
from vlp.evaluation.cross_validation import METRICS, CrossValidationError, cross_validate
from vlp.files import atomic, write_csv, write_json, write_jsonl
from vlp.params import Section
from vlp.tasks.base import Frozen
from vlp.training.determinism import seed_everything

PREPARED = Path("data/prepared")
TASKS, REPORTS = Path("models/tasks"), Path("reports/evaluation")

logger = logging.getLogger(__name__)


class CrossValidationParams(Section):
    """``evaluate.cross_validation``: of a linear head on frozen features; ``vlp cross-validate`` trains all anew."""

    folds: int = Field(ge=0, description="of the test split's groups; 0: none")

    @field_validator("folds")
    @classmethod
    def _some(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one fold leaves nothing to learn from: 2 or more, or 0 for none")
        return value


class EvaluateParams(Section):
    """``evaluate``."""

    resamples: int = Field(ge=100, description="of the bootstrap behind every 95 % interval")
    cross_validation: CrossValidationParams


class Params(Section):
    """The sections this stage reads."""

    seed: int
    evaluate: EvaluateParams


def main() -> None:
    """Evaluate the task named on the command line; write its metrics, plots and predictions."""
    name = sys.argv[1]
    params = parameters.load(Params)
    prepared = Prepared(PREPARED)
    keep_freed_memory()
    seed_everything(params.seed)
    task = plugins.find("vlp.tasks", name).Task.load(TASKS / name, prepared)
    test = prepared.split("test")
    found = task.evaluate(test, params.seed, params.evaluate.resamples)
    found.metrics.update(_cross_validation(name, found.frozen, params))
    with atomic(REPORTS / name, folder=True) as folder:
        write_json(folder / "metrics.json", found.metrics)
        write_jsonl(folder / "predictions.jsonl", found.predictions)
        for plot, rows in found.plots.items():
            write_csv(folder / f"{plot}.csv", rows)
        for picture, pixels in found.pictures.items():
            Image.fromarray(pixels).save(folder / f"{picture}.png")
    write_json(f"metrics/{name}.json", found.metrics)


def _cross_validation(task: str, frozen: Frozen | None, params: Params) -> dict[str, Any]:
    """``cross_validation``: what ``cross_validate`` gives, and of which figure; nothing where a task has no classes, or
    the split gives nothing to divide: all that was measured before must not be lost for that.
    """
    folds = params.evaluate.cross_validation.folds
    if frozen is None or not folds:
        return {}
    try:
        found = cross_validate(
            frozen.features,
            frozen.targets,
            frozen.groups,
            METRICS[frozen.metric],
            folds=folds,
            seed=params.seed,
            exclusive=frozen.exclusive,
        )
    except CrossValidationError as error:
        logger.warning(
            "%s: %s: the metrics are without cross_validation; evaluate.cross_validation.folds: 0 asks for none",
            task,
            error,
        )
        return {}
    return {"cross_validation": {**found, "metric": frozen.metric}}


if __name__ == "__main__":
    run(main)
