"""One small pre-training run of two phases as a process of its own, to be killed: ``python -m support.small_run JSON``.

The JSON object: ``prepared`` (folder), ``out`` (safetensors file to write), ``die_at`` (optimiser steps after which the
process kills itself; −1: never), ``die_rank``, ``how`` (kill or stop), ``recipe`` (more of it), ``freeze`` (parts of
the backbone that stay).
"""

from __future__ import annotations

from support import startup  # isort: skip  # before torch

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from vlp.stages import base
from support import models
from vlp.data.loading import Prepared
from vlp.params import parse
from vlp.records import Batch
from vlp.training.determinism import seed_everything
from vlp.training.engine import Engine
from vlp.training.launch import is_first
from vlp.training.pretraining import Pretraining, PretrainParams, pretrain
from vlp.training.resume import Run

OBJECTIVES: dict[str, dict[str, Any]] = {
    "tagging": {"weight": 1.0, "min_count": 2},
    "matching": {"weight": 1.0, "in_batch_negatives": 1, "pair_weight": 1.0, "word_weight": 1.0},
    "contrastive": {"weight": 0.5, "width": 16, "temperature": 0.07},
}
STEPS = 7


class Frozen(Pretraining):
    """Parts of the backbone stay as they are, in every phase."""

    freeze: tuple[str, ...] = ()

    def begin(self, phase: Any) -> None:
        """As ever, but for those parts."""
        super().begin(phase)
        for part in self.freeze:
            getattr(self.model, part).requires_grad_(False)


def main() -> None:
    """Train, or go on training; write all weights."""
    startup.over()
    asked = json.loads(sys.argv[1])
    prepared = Prepared(Path(asked["prepared"]))
    recipe = models.recipe(STEPS, save_every=3, log_every=4, **asked.get("recipe", {})).model_dump(mode="json")
    phases = {"look": ["tagging"], "read": list(OBJECTIVES)}
    values = {
        "captions_per_image": 2,
        "objectives": OBJECTIVES,
        "phases": {name: {"objectives": chosen, "training": recipe} for name, chosen in phases.items()},
    }
    params = parse(PretrainParams, values, "test")
    seed_everything(0)
    module = Frozen(models.model(prepared), params, prepared)
    module.freeze = tuple(asked.get("freeze", ()))
    _die(asked)
    run = Run.open("pretrain", module, [params], prepared.folder)
    curve, held_out, _ = pretrain(module, params, prepared, 0, None, run)
    if is_first():
        out = Path(asked["out"])
        save_file({name: value.contiguous() for name, value in module.state_dict().items()}, out)
        out.with_suffix(".json").write_text(json.dumps([curve, held_out]), encoding="utf-8")
        run.finish()


def _die(asked: dict[str, Any]) -> None:
    taken = 0
    step = Engine.step

    def watched(self: Engine, parts: list[Batch], number: int) -> list[dict[str, Tensor]]:
        nonlocal taken
        if taken == asked.get("die_at", -1) and int(os.environ.get("RANK", "0")) == asked.get("die_rank", 0):
            os.kill(os.getpid(), signal.SIGKILL if asked.get("how", "kill") == "kill" else signal.SIGSTOP)
        taken += 1
        return step(self, parts, number)

    Engine.step = watched  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    base.run(main)
