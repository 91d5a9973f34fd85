"""``evaluate@task``: one trained task, measured on the test split."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from pydantic import Field

from vlp import params as parameters
from vlp import plugins
from vlp.data.loading import Prepared
from vlp.files import atomic, write_csv, write_json, write_jsonl
from vlp.params import Section
from vlp.stages.base import run
from vlp.training.determinism import seed_everything

PREPARED = Path("data/prepared")
TASKS, REPORTS = Path("models/tasks"), Path("reports/evaluation")


class EvaluateParams(Section):
    """``evaluate``."""

    resamples: int = Field(ge=100, description="of the bootstrap behind every 95 % interval")


class Params(Section):
    """The sections this stage reads."""

    seed: int
    evaluate: EvaluateParams


def main() -> None:
    """Evaluate the task named on the command line; write its metrics, plots and predictions."""
    name = sys.argv[1]
    params = parameters.load(Params)
    prepared = Prepared(PREPARED)
    seed_everything(params.seed)
    task = plugins.find("vlp.tasks", name).Task.load(TASKS / name, prepared)
    found = task.evaluate(prepared.split("test"), params.seed, params.evaluate.resamples)
    with atomic(REPORTS / name, folder=True) as folder:
        write_json(folder / "metrics.json", found.metrics)
        write_jsonl(folder / "predictions.jsonl", found.predictions)
        for plot, rows in found.plots.items():
            write_csv(folder / f"{plot}.csv", rows)
        for picture, pixels in found.pictures.items():
            Image.fromarray(pixels).save(folder / f"{picture}.png")
    write_json(f"metrics/{name}.json", found.metrics)


if __name__ == "__main__":
    run(main)
