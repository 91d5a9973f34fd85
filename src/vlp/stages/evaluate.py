"""``evaluate@task``: one trained task, measured on the test split."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import Field

from vlp import params as parameters
from vlp import plugins
from vlp.data.loading import Prepared
from vlp.files import write_csv, write_json, write_jsonl
from vlp.params import Section
from vlp.stages.base import run
from vlp.training.loop import seed_everything

PREPARED = Path("data/prepared")


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
    task = plugins.find("vlp.tasks", name).Task.load(Path("models") / name, prepared)
    found = task.evaluate(prepared.split("test"), params.seed, params.evaluate.resamples)
    write_jsonl(f"reports/predictions/{name}.jsonl", found.predictions)
    for plot, rows in found.plots.items():
        write_csv(f"reports/plots/{name}/{plot}.csv", rows)
    write_json(f"metrics/{name}.json", found.metrics)


if __name__ == "__main__":
    run(main)
