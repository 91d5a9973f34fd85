"""What pre-training buys each task: from scratch, on a frozen backbone, fine-tuned, by LoRA; with few labels and many.

    python benchmarks/transfer.py --of scenes --ways scratch fine-tuned --shares 0.01 0.1 1.0
    python benchmarks/transfer.py --of noto-emoji --run runs/noto-emoji --ways scratch frozen fine-tuned lora

Every run has the same steps, far fewer than the default's, so that the rows compare what a model starts from and not
how long it was trained; ``--test`` records of the test split are measured, the first ones. Rows are added to
``benchmarks/results/transfer.json`` as they end, and one that is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import harness
from vlp import plugins
from vlp.data.loading import Examples, Plans, Prepared, loader
from vlp.params import load_section
from vlp.recipe import LoraParams, TransferParams
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit
from vlp.training.transfer import Transfer, start

FIGURES = {
    "matching": "hard_negative_accuracy",
    "vqa": "accuracy",
    "classification": "macro_f1",
    "segmentation": "miou",
    "captioning": "cider",
    "retrieval": "text_to_image_r1",
}
WAYS = {
    "scratch": TransferParams(start="scratch"),
    "frozen": TransferParams(freeze=("image_encoder", "text_encoder", "fusion")),
    "fine-tuned": TransferParams(),
    "lora": TransferParams(lora=LoraParams()),
}
RESULTS = harness.RESULTS / "transfer.json"


class _NoSuchWayError(Exception):
    """The task cannot be trained in this way: one that reads no text has no attention for LoRA."""


class Few(Examples):
    """The first records of a split."""

    def __init__(self, folder: Path, split: str, most: int) -> None:
        super().__init__(folder, split)
        self.table = self.table.slice(0, most)
        self._chunks = self.table.to_batches()
        self._starts = np.cumsum([0, *(chunk.num_rows for chunk in self._chunks)])


class FewPrepared(Prepared):
    """Prepared data of which nobody sees more than the first records of each split: neither a task nor its baselines.

    Args:
        folder: as of ``Prepared``.
        share: of the train split, 2 records at least.
        held_out: records of each other split, at most.
    """

    def __init__(self, folder: Path, share: float, held_out: int) -> None:
        super().__init__(folder)
        whole = len(super().split("train"))
        self.most = {"train": max(2, round(share * whole)), "validation": held_out, "test": held_out}

    def split(self, name: str) -> Examples:
        """The first records of that split."""
        return Few(self.folder, name, self.most[name])


def main() -> None:
    """Run what the command line asks for and is not there yet."""
    arguments = _arguments()
    for task in arguments.tasks:
        for share in arguments.shares:
            for way in arguments.ways:
                key = {"data": arguments.of, "task": task, "way": way, "labels": share, "steps": arguments.steps}
                if any(all(row[name] == value for name, value in key.items()) for row in _rows()):
                    continue
                began = time.perf_counter()
                try:
                    found = _run(arguments, task, WAYS[way], share)
                except _NoSuchWayError as error:
                    sys.stderr.write(f"{error}\n")
                    continue
                row = {**key, **found, "seconds": round(time.perf_counter() - began, 1)}
                harness.write("transfer", {"rows": [*_rows(), row]})


def _rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else []
    return rows


def _run(arguments: argparse.Namespace, name: str, transfer: TransferParams, share: float) -> dict[str, Any]:
    run, seed = arguments.run, 7
    prepared = FewPrepared(run / "data" / "prepared", share, arguments.test)
    plugin = plugins.find("vlp.tasks", name)
    section = load_section(f"tasks.{name}", plugin.Params, run / "params.yaml")
    recipe = section.training.model_copy(update={"steps": arguments.steps})
    section = section.model_copy(update={"training": recipe, "transfer": transfer})
    seed_everything(seed)
    model, heads = start(transfer, run / "models" / "pretrained", prepared)
    task = plugin.Task(section, model, prepared)
    task.warm_start(heads)
    try:
        held = Transfer(task)
    except ValueError as error:
        raise _NoSuchWayError(f"{name}, {share:g} of the labels: left out: {error}") from error
    train, test = prepared.split("train"), prepared.split("test")
    task.prepare(train, seed)
    plans = Plans(len(train), recipe.batch_size, recipe.steps, seed)
    history = fit(task, loader(train, task.collate, plans, seed=seed), recipe, rates=held.rate)
    trained = sum(parameter.numel() for parameter in task.parameters() if parameter.requires_grad)
    held.merge()
    task.calibrate(prepared.split("validation"), seed)
    metrics = task.evaluate(test, seed, 200).metrics
    figure = FIGURES[name]
    return {
        "figure": figure,
        "value": round(metrics[figure], 4),
        "ci95": [round(end, 4) for end in metrics[f"{figure}_ci95"]],
        "records": len(train),
        "tested": len(test),
        "trained_parameters": trained,
        "images_per_second": round(history.examples_per_second, 1),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", required=True, help="the data's name in the table")
    parser.add_argument("--run", type=Path, default=Path(), help="a folder with params.yaml, data and models of a run")
    parser.add_argument("--tasks", nargs="+", default=["matching", "vqa", "classification", "segmentation"])
    parser.add_argument("--shares", nargs="+", type=float, default=[1.0], help="of the training records")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["scratch", "fine-tuned"])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--test", type=int, default=300, help="records of the test split")
    return parser.parse_args()


if __name__ == "__main__":
    main()
