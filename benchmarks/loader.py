"""Does the loader feed training? Images per second that it yields, over images per second that training takes.

    python benchmarks/loader.py [--rounds 5]         # after: dvc repro preprocess

The loader of pre-training in one process (with `training.workers: 0` both take turns: training waits for as long as the
loader takes), and a training step on batches that are there already: forward, backward and AdamW in the precision
of the default run. They take turns; each phase of pre-training has its own ratio, since each reads other texts.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import harness
from vlp import params as parameters
from vlp.data.loading import Plans, Prepared, loader
from vlp.models.modeling import VLPModel
from vlp.records import Batch
from vlp.stages.pretrain import Params
from vlp.training.pretraining import Pretraining

BATCHES = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/prepared"))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    params, prepared = parameters.load(Params), Prepared(arguments.data)
    sizes = {"vocab_size": prepared.vocabulary_size, "image_size": prepared.image_size}
    model = VLPModel.from_params(params.model, **sizes, pad_token_id=prepared.pad_id)
    module = Pretraining(model, params.pretrain, prepared)
    train = prepared.split("train")
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5, fused=True)

    def step(batch: Batch) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            scalars = module(batch)
        losses = [module.weights.get(name, 1.0) * value for name, value in scalars.items() if name.endswith("_loss")]
        torch.stack(losses).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    samples: dict[str, dict[str, list[float]]] = {}
    for name, phase in params.pretrain.phases.items():
        module.begin(phase)
        size = phase.training.batch_size
        times = samples[name] = {"load_s": [], "train_s": []}
        for number in range(arguments.rounds + 1):
            start = time.perf_counter()
            batches = list(loader(train, module.collate, Plans(len(train), size, BATCHES, number), seed=number))
            loaded = time.perf_counter()
            for batch in batches:
                step(batch)
            if number:  # the first round opens the shards and warms the kernels
                times["load_s"].append(round(loaded - start, 4))
                times["train_s"].append(round(time.perf_counter() - loaded, 4))
    harness.write(
        "loader",
        {
            "images_a_round": BATCHES * size,
            "ratios": {name: harness.ratio(times["train_s"], times["load_s"]) for name, times in samples.items()},
            "samples": samples,
        },
    )


if __name__ == "__main__":
    main()
