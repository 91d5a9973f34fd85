"""``finetune@task``: one task, trained from the pre-trained backbone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vlp.stages import base
from vlp import params as parameters
from vlp import plugins
from vlp.allocation import keep_freed_memory
from vlp.data.augment import AugmentParams, augmenter
from vlp.data.loading import Plans, Prepared, loader
from vlp.files import atomic, write_csv, write_json
from vlp.params import Section
from vlp.training.determinism import seed_everything
from vlp.training.held_out import WATCH, HeldOut, Watch
from vlp.training.launch import is_first, require_company
from vlp.training.loop import fit
from vlp.training.resume import Run
from vlp.training.transfer import Transfer, start

PREPARED = Path("data/prepared")
PRETRAINED = Path("models/pretrained")
TASKS = Path("models/tasks")


class Params(Section):
    """The sections this stage reads, besides ``tasks.<name>``."""

    seed: int
    augment: AugmentParams


def main() -> None:
    """Train the task named on the command line, calibrate it on validation, write it."""
    name = sys.argv[1]
    params = parameters.load(Params)
    plugin = plugins.find("vlp.tasks", name)
    section = parameters.load_section(f"tasks.{name}", plugin.Params)
    recipe = section.training
    if plugin.Task.compares:
        require_company(recipe, f"tasks.{name}.training")
    prepared = Prepared(PREPARED)
    keep_freed_memory()
    seed_everything(params.seed)
    model, heads = start(section.transfer, PRETRAINED, prepared)
    task = plugin.Task(section, model, prepared)
    task.warm_start(heads)
    transfer = Transfer(task)
    train = prepared.split("train")
    task.prepare(train, params.seed)
    plans = Plans(len(train), recipe.batch_size, recipe.steps, params.seed)
    changed = augmenter(params.augment, prepared)
    batches = loader(train, task.collate, plans, seed=params.seed, workers=recipe.workers, augment=changed)
    held_out = HeldOut(task, prepared.split("validation"), recipe, params.seed)
    watch = Watch(held_out, Path(path)) if (path := os.environ.get(WATCH)) else None
    run = Run.open(f"finetune-{name}", task, [params, section], PREPARED)
    history = fit(task, batches, recipe, rates=transfer.rate, watch=watch, run=run)
    if not is_first():
        return
    transfer.merge()
    validation = held_out.look()
    task.calibrate(prepared.split("validation"), params.seed)
    with atomic(TASKS / name, folder=True) as folder:
        task.save(folder)
    write_csv(f"reports/training/{name}.csv", history.rows)
    write_json(f"metrics/finetune/{name}.json", {"validation": validation})
    write_json(f"metrics/timing/{name}.json", {"examples_per_second": history.examples_per_second})
    run.finish()


if __name__ == "__main__":
    base.run(main)
