"""``pretrain``: the backbone, trained on image–text pairs."""

from __future__ import annotations

from pathlib import Path

from vlp import params as parameters
from vlp.data.loading import Plans, Prepared, in_order, loader
from vlp.files import atomic, write_csv, write_json
from vlp.models.configuration import ModelParams
from vlp.models.modeling import VLPModel
from vlp.params import Section
from vlp.stages.base import run
from vlp.training.determinism import seed_everything
from vlp.training.loop import average, fit
from vlp.training.pretraining import Pretraining, PretrainParams

PREPARED = Path("data/prepared")
OUT = Path("models/pretrained")


class Params(Section):
    """The sections this stage reads."""

    seed: int
    model: ModelParams
    pretrain: PretrainParams


def main() -> None:
    """Train, then write the backbone, its objectives' heads, the metrics and the curve."""
    params = parameters.load(Params)
    recipe = params.pretrain.training
    prepared = Prepared(PREPARED)
    seed_everything(params.seed)
    model = VLPModel.from_params(
        params.model,
        vocab_size=prepared.vocabulary_size,
        image_size=prepared.image_size,
        pad_token_id=prepared.pad_id,
    )
    module = Pretraining(model, params.pretrain, prepared)
    train, validation = prepared.split("train"), prepared.split("validation")
    plans = Plans(len(train), recipe.batch_size, recipe.steps, params.seed)
    history = fit(
        module, loader(train, module.collate, plans, seed=params.seed, workers=recipe.workers), recipe, module.weights
    )
    held_out = loader(validation, module.collate, in_order(len(validation), recipe.batch_size), seed=params.seed)
    with atomic(OUT, folder=True) as folder:
        module.save(folder)
    write_csv("reports/training/pretrain.csv", history.rows)
    write_json(
        "metrics/pretrain.json",
        {
            **average(module, held_out, recipe),
            "steps": recipe.steps,
            "parameters": sum(p.numel() for p in module.model.parameters()),
        },
    )
    write_json("metrics/timing/pretrain.json", {"examples_per_second": history.examples_per_second})


if __name__ == "__main__":
    run(main)
