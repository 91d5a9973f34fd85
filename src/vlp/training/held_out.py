"""A look at held-out data: after training as a metric, and while it goes on for whoever searches parameters.

Looking changes nothing: the same run ends in the same weights, watched or not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from vlp.data.loading import Examples, Plan, loader
from vlp.evaluation.nearest import evenly
from vlp.recipe import Recipe
from vlp.records import Batch
from vlp.training.loop import average

if TYPE_CHECKING:
    from vlp.tasks.base import Task
    from vlp.training.pretraining import Pretraining

WATCH = "VLP_WATCH"
"""The environment variable that names a file for ``Watch`` to write."""
RECORDS = 512
BATCH_SIZE = 32
"""Of every look, whatever the recipe: figures like recall within a batch are the worse the larger it is, and runs of
other batch sizes are to be compared."""


class HeldOut:
    """A few batches of the validation split, drawn once: every look is at the same texts.

    Data may be sorted, by class say. So the records are spread evenly over the split, and each batch is dealt from all
    over it: in a batch of neighbours there would be nothing to tell apart.

    Args:
        module: how they are collated, and what looks at them.
        validation: the split.
        recipe: precision.
        seed: of what is drawn.
    """

    def __init__(self, module: Task | Pretraining, validation: Examples, recipe: Recipe, seed: int) -> None:
        spread = evenly(np.arange(len(validation)), RECORDS).tolist()
        count = math.ceil(len(spread) / BATCH_SIZE)
        plans = [Plan(step, tuple(spread[step::count])) for step in range(count)]
        with torch.random.fork_rng():  # a DataLoader draws a seed of its own
            self._batches: Sequence[Batch] = list(loader(validation, module.collate, plans, seed=seed))
        self._module, self._recipe, self._seed = module, recipe, seed

    def figures(self) -> dict[str, float]:
        """Every named scalar, each the mean over the batches that have it."""
        training = self._module.training
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            found = average(self._module, self._batches, self._recipe)
        self._module.train(training)
        return found

    def look(self) -> dict[str, float]:
        """``loss``, the sum of all losses, beside the ``figures``."""
        found = self.figures()
        return {"loss": sum(value for name, value in found.items() if name.endswith("_loss")), **found}


class Watch:
    """Appends a look to a file of JSON lines each time it is called with the number of steps done."""

    def __init__(self, held_out: HeldOut, path: Path) -> None:
        self._held_out, self._path = held_out, path

    def __call__(self, step: int) -> None:
        """One line: ``step`` and what the look found."""
        line = json.dumps({"step": step, **self._held_out.look()})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
