"""How much memory a full-size preset needs by batch size, reckoned without a GPU.

    python benchmarks/training_memory.py      # a few minutes on two cores: benchmarks/results/training_memory.json

Weights, gradients and both moments of AdamW are 16 bytes a parameter. What a forward pass keeps for the backward pass
is counted tensor by tensor (``torch.autograd.graph.saved_tensors_hooks``) at two small batches in bf16 on the CPU; the
difference is what an image costs, with all of its captions. ``against``: the same reckoning beside what
`benchmarks/training_gpu.py` once measured on an H200. What is left out lives for moments only: the workspace of an
operation and, with ``recompute``, what one block keeps while it is computed again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import harness
from benchmarks.training_data import Made, make
from benchmarks.training_ours import parameters_of, preset, pretraining
from vlp.data.loading import Plans, loader
from vlp.training.memory import recomputing

PRESETS = {"resnet50-bert": (1,), "resnet50-bert-fusion": (1, 5)}
"""Captions an image that each is reckoned with."""
BATCHES = (32, 64, 128, 256, 512)
SMALL = (2, 6)
MEASURED = {("resnet50-bert-fusion", 5, 128): 30.0, ("resnet50-bert-fusion", 1, 128): 13.0}
"""Gigabytes that torch had allocated at most on an H200: docs/training.md."""


def main() -> None:
    """Count, reckon, write."""
    parser = argparse.ArgumentParser(description="Memory of the full-size presets by batch size, without a GPU.")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "vlp-benchmark-memory")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    made = make(arguments.folder / "data", 160, 224)
    rows, against = [], []
    for name, several in PRESETS.items():
        for captions in several:
            for recompute in (False, True):
                row = _reckoned(name, captions, made, arguments.folder, recompute=recompute)
                rows.append(row)
                print(row, file=sys.stderr, flush=True)
                if not recompute:
                    against += [
                        {"preset": name, "captions": captions, "batch": batch, "measured_gb": gigabytes,
                         "reckoned_gb": row["gigabytes"][str(batch)]}
                        for (preset_, captions_, batch), gigabytes in MEASURED.items()
                        if (preset_, captions_) == (name, captions)
                    ]  # fmt: skip
    harness.write("training_memory", {"memory": rows, "against": against})


def _reckoned(name: str, captions: int, made: Made, folder: Path, *, recompute: bool) -> dict[str, Any]:
    values = preset(harness.ROOT, folder, name)
    values["pretrain"]["captions_per_image"] = captions
    if masked := values["pretrain"]["objectives"].get("masked_text"):
        masked["captions_per_image"] = captions
    (phase,) = values["pretrain"]["phases"]
    module, _ = pretraining(values, made.prepared, phase)
    few, more = (_kept(module, made, size, recompute=recompute) for size in SMALL)
    image = (more - few) / (SMALL[1] - SMALL[0])
    fixed = 16 * parameters_of(module) + few - SMALL[0] * image
    return {
        "preset": name,
        "captions": captions,
        "recompute": recompute,
        "megabytes_an_image": round(image / 2**20, 1),
        "fixed_gb": round(fixed / 2**30, 2),
        "gigabytes": {str(batch): round((fixed + batch * image) / 2**30, 1) for batch in BATCHES},
    }


def _kept(module: Any, made: Made, batch_size: int, *, recompute: bool) -> int:
    """Bytes that a forward pass keeps for the backward pass, weights left out."""
    train = made.prepared.split("train")
    batch = next(iter(loader(train, module.collate, Plans(len(train), batch_size, 1, 0), seed=0)))
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no address is given out twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    module.to(memory_format=torch.channels_last).train()
    with (
        recomputing(module, recompute),
        torch.autocast("cpu", torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        scalars = module(batch)  # alive until here: it holds the graph
        bytes_kept = sum(storage.nbytes() for storage in kept.values())
    assert scalars
    return bytes_kept


if __name__ == "__main__":
    main()
