"""Training of which only the first process has questions: ``python -m support.sparse_questions JSON``.

The JSON object: ``prepared`` (folder), ``out`` (file to write: the last row of each run), ``shard`` (bool).
"""

from __future__ import annotations

from support import startup  # isort: skip  # before torch

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlp.stages import base
from support import models
from vlp.data import questions
from vlp.data.loading import Plans, Prepared, loader
from vlp.models.distributed import rank
from vlp.objectives import answering
from vlp.params import parse
from vlp.tasks.vqa import Params, Task, task
from vlp.training.determinism import seed_everything
from vlp.training.launch import is_first, join
from vlp.training.loop import fit
from vlp.training.pretraining import Pretraining, PretrainParams

# Whose normalisations wait for the statistics of all processes, in the fusion block too.
FILM = {"name": "film", "hidden": 16, "layers": 1, "dropout": 0.0}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "answering": {"weight": 1.0, "questions_per_image": 2, "answers": 30},
    "contrastive": {"weight": 1.0, "width": 16, "temperature": 0.07},
}


def main(asked: dict[str, Any]) -> None:
    """The answering objective alone and beside another, and the task ``vqa``: three steps each."""
    startup.over()
    join()
    answering.draw_questions = task.draw_questions = _drawn  # type: ignore[attr-defined]
    prepared = Prepared(Path(asked["prepared"]))
    recipe = models.recipe(3, shard=asked["shard"], log_every=3)
    found = {}
    for names in (["answering"], ["answering", "contrastive"]):
        seed_everything(0)
        phase = {"objectives": names, "training": recipe.model_dump(mode="json")}
        chosen = {name: OBJECTIVES[name] for name in names}
        section = parse(PretrainParams, {"captions_per_image": 1, "objectives": chosen, "phases": {"x": phase}}, "test")
        module = Pretraining(models.model(prepared, FILM), section, prepared)
        module.begin(section.phases["x"])
        found["+".join(names)] = _trained(module, prepared, recipe)
    seed_everything(0)
    values = {"questions_per_image": 2, "answers": 30, "training": recipe.model_dump(mode="json")}
    found["vqa"] = _trained(
        Task(parse(Params, values, "test"), models.model(prepared, FILM), prepared), prepared, recipe
    )
    if is_first():
        Path(asked["out"]).write_text(json.dumps(found), encoding="utf-8")


def _trained(module: Any, prepared: Prepared, recipe: Any) -> dict[str, float]:
    train = prepared.split("train")
    plans = Plans(len(train), recipe.batch_size, recipe.steps, 0)
    return fit(module, loader(train, module.collate, plans, seed=0), recipe).rows[-1]


def _drawn(*given: Any) -> tuple[Sequence[Any], list[int], list[int]]:
    return questions.draw_questions(*given) if rank() == 0 else ([], [], [])


if __name__ == "__main__":
    base.run(lambda: main(json.loads(sys.argv[1])))
