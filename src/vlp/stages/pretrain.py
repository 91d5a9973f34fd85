"""``pretrain``: the backbone, trained on image–text pairs."""

from __future__ import annotations

from pathlib import Path

from vlp.stages import base
from vlp import params as parameters
from vlp.allocation import keep_freed_memory
from vlp.data.augment import AugmentParams, augmenter
from vlp.data.loading import Prepared
from vlp.files import atomic, write_csv, write_json
from vlp.models.configuration import ModelParams
from vlp.models.modeling import VLPModel
from vlp.params import Section
from vlp.training.determinism import seed_everything
from vlp.training.launch import is_first
from vlp.training.pretraining import Pretraining, PretrainParams, pretrain
from vlp.training.resume import Run

PREPARED = Path("data/prepared")
OUT = Path("models/pretrained")


class Params(Section):
    """The sections this stage reads."""

    seed: int
    model: ModelParams
    pretrain: PretrainParams
    augment: AugmentParams


def main() -> None:
    """Train phase by phase, then write the backbone, its objectives' heads, the metrics and the curve."""
    params = parameters.load(Params)
    prepared = Prepared(PREPARED)
    keep_freed_memory()
    seed_everything(params.seed)
    model = VLPModel.from_params(
        params.model,
        vocab_size=prepared.vocabulary_size,
        image_size=prepared.image_size,
        pad_token_id=prepared.pad_id,
    )
    module = Pretraining(model, params.pretrain, prepared)
    changed = augmenter(params.augment, prepared)
    run = Run.open("pretrain", module, [params], PREPARED)
    curve, held_out, speed = pretrain(module, params.pretrain, prepared, params.seed, changed, run)
    if not is_first():
        return
    with atomic(OUT, folder=True) as folder:
        module.save(folder)
    write_csv("reports/training/pretrain.csv", curve)
    steps = sum(phase.training.steps for phase in params.pretrain.phases.values())
    parameter_count = sum(parameter.numel() for parameter in model.parameters())
    write_json("metrics/pretrain.json", {**held_out, "steps": steps, "parameters": parameter_count})
    write_json("metrics/timing/pretrain.json", speed)
    run.finish()


if __name__ == "__main__":
    base.run(main)
