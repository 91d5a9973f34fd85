"""Training on one GPU: does it work, how fast is it, does the full-size model learn? One command, under ten minutes.

    python benchmarks/training_gpu.py                       # on an H100 or H200: benchmarks/results/training_gpu.json
    python benchmarks/training_gpu.py --device cpu --tiny   # tries the script itself, in a minute or two

``checks``: both full-size presets take bf16 steps to finite losses, and a run that is cut goes on to the same weights.
``times``: pairs a second of ITM + ITC + MLM at 224 px from shards on disk, beside the same from a tensor that is there
already (what input costs), the plain float32 loop, and open_clip's RN50 fed from the same shards; shares of the
arithmetic and bandwidth limits that are measured in the same run. ``smoke``: the full-size model learns
matching on scenes at 224 px. Each part has its share of the time and writes what it has when that is over.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import harness
from benchmarks.training_data import Made, make
from benchmarks.training_ours import (
    FOREVER,
    Side,
    backbone,
    matrix_peak,
    memory_bandwidth,
    parameters_of,
    preset,
    pretraining,
)
from benchmarks.training_rivals import PlainModel, PlainPairs, Taken, open_clip_loop, plain_loop
from vlp.data.loading import Plans, loader, to_device
from vlp.data.prefetch import prefetched
from vlp.params import parse
from vlp.plugins import find
from vlp.recipe import Recipe
from vlp.training.checkpoints import Checkpoints
from vlp.training.loop import fit
from vlp.training.pretraining import PretrainParams
from vlp.training.resume import Run

PRESETS = ("resnet50-bert", "resnet50-bert-fusion")
PHASE = "read"


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured on, and how much of it."""

    device: torch.device
    tiny: bool
    folder: Path
    made: Made
    batch: int
    workers: int
    rounds: int
    smoke_seconds: float


def main() -> None:
    """Run the parts that are asked for; what each found is written as soon as it is there."""
    arguments = _arguments()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("error: --device cuda: torch sees no GPU; --device cpu --tiny tries the script itself")
    tiny = arguments.tiny
    begin = time.perf_counter()
    made = make(arguments.folder / f"gpu-{tiny}", 160 if tiny else 8000, 64 if tiny else 224)
    setting = Setting(
        device=device, tiny=tiny, folder=arguments.folder, made=made, batch=8 if tiny else arguments.batch,
        workers=arguments.workers, rounds=2 if tiny else 20, smoke_seconds=5.0 if tiny else arguments.smoke_seconds,
    )  # fmt: skip
    name = "training_gpu_tiny" if tiny else "training_gpu"
    path = harness.RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"ratios": {}}
    found = {key: value for key, value in found.items() if key not in ("machine", "command", "commit", "at")}
    found["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    found["data_s"] = round(time.perf_counter() - begin, 1)
    for part in arguments.parts:
        start = time.perf_counter()
        found |= {"checks": _checks, "times": _times, "smoke": _smoke}[part](setting)
        found[f"{part}_s"] = round(time.perf_counter() - start, 1)
        harness.write(name, found)


def _recipe(setting: Setting, recipe: Recipe, **more: Any) -> Recipe:
    values = {"batch_size": setting.batch, "workers": setting.workers, "compile": False, **more}
    return recipe.model_copy(update=values)


def _checks(setting: Setting) -> dict[str, Any]:
    """Both presets take steps; a cut run resumes. Raises where one does not."""
    found: dict[str, Any] = {}
    for name in PRESETS:
        values = preset(harness.ROOT, setting.folder, name)
        module, recipe = pretraining(values, setting.made.prepared, PHASE, tiny=setting.tiny)
        taken = list(islice(Side(module, setting.made.prepared, _recipe(setting, recipe), setting.device).steps(), 4))
        if not all(each.loss == each.loss and abs(each.loss) < float("inf") for each in taken):
            raise SystemExit(f"error: {name}: losses {[each.loss for each in taken]}")
        found[name] = {"parameters": parameters_of(module), "losses": [round(each.loss, 4) for each in taken]}
    found["resume_differs_by"] = _resumed(setting)
    return {"checks": found}


class _Cut(Exception):  # noqa: N818 - no error: the plug is pulled
    pass


def _resumed(setting: Setting) -> float:
    """The largest difference of a weight between a run that was cut and gone on with, and one that was not."""
    values = preset(harness.ROOT, setting.folder, PRESETS[1])
    weights = []
    for cut in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            for stop in ([3] if cut else []) + [0]:
                module, recipe = pretraining(values, setting.made.prepared, PHASE, tiny=setting.tiny)
                short = _recipe(setting, recipe, steps=6, save_every=2, log_every=1, batch_size=8)
                train = setting.made.prepared.split("train")
                batches = loader(train, module.collate, Plans(len(train), 8, 6, 0), seed=0)

                def watch(step: int, stop: int = stop) -> None:
                    if step == stop:
                        raise _Cut

                try:
                    fit(module, batches, short, module.weights, watch=watch, run=Run(Checkpoints(Path(folder))))
                except _Cut:
                    continue
                weights.append({name: value.detach().cpu().clone() for name, value in module.named_parameters()})
    one, other = weights
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def _steady(steps: Iterator[Taken], rounds: int, batch: int) -> tuple[float, list[float]]:
    """Pairs a second, an image a pair, and the seconds of each step after the first few."""
    seconds = [each.seconds for each in islice(steps, 3, 3 + rounds)]
    return round(batch / median(seconds), 1), seconds


def _times(setting: Setting) -> dict[str, Any]:
    """Pairs a second of everything, and the limits."""
    prepared, device, batch = setting.made.prepared, setting.device, setting.batch
    values = preset(harness.ROOT, setting.folder, PRESETS[1])
    rates: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    limits: dict[str, float] = {}
    for name, compiled in (("ours", False), ("ours_compiled", True)):
        if compiled and setting.tiny:
            continue
        module, recipe = pretraining(values, prepared, PHASE, tiny=setting.tiny)
        side = Side(module, prepared, _recipe(setting, recipe, compile=compiled), device)
        rates[name], samples[name] = _steady(side.steps(), setting.rounds, batch)
        if not compiled:
            held = to_device(next(iter(side.batches)), device)
            side.batches = itertools.repeat(held, FOREVER)  # type: ignore[assignment]
            rates["ours_without_input"], samples["ours_without_input"] = _steady(side.steps(), setting.rounds, batch)
            limits = _limits(setting, side, median(samples["ours"]))
        del side, module
    tokenizer = prepared.folder / "tokenizer" / "tokenizer.json"
    pairs = PlainPairs(setting.made.pairs, tokenizer, prepared.image_size, 32)
    plain = plain_loop(PlainModel(backbone(values, prepared, tiny=setting.tiny)), pairs, batch // 4, 1e-4, device)
    rates["plain_loop"], samples["plain_loop"] = _steady(plain, max(2, setting.rounds // 4), batch // 4)
    alone = copy.deepcopy(values)
    alone["pretrain"]["objectives"] = {"contrastive": alone["pretrain"]["objectives"]["contrastive"]}
    alone["pretrain"]["phases"][PHASE]["objectives"] = ["contrastive"]
    module, recipe = pretraining(alone, prepared, PHASE, tiny=setting.tiny)
    side = Side(module, prepared, _recipe(setting, recipe), device)
    rates["ours_contrastive"], samples["ours_contrastive"] = _steady(side.steps(), setting.rounds, batch)
    theirs = open_clip_loop(prefetched(side.batches, device), prepared.image_size, device, bf16=True, tiny=setting.tiny)
    rates["open_clip"], samples["open_clip"] = _steady(theirs, setting.rounds, batch)
    return {
        "pairs_per_second": rates["ours"],
        "pairs_per_second_of": rates,
        "batch": batch,
        "ratios": {
            "vs_plain_loop": round(rates["ours"] / rates["plain_loop"], 2),
            "vs_open_clip": round(rates["ours_contrastive"] / rates["open_clip"], 2),
            "input_share": round(1 - rates["ours"] / rates["ours_without_input"], 3),
        },
        **limits,
        "samples": samples,
    }


def _limits(setting: Setting, side: Side, seconds: float) -> dict[str, float]:
    """How near a step comes to what the device can multiply, and to what it can move at the least."""
    peak = matrix_peak(setting.device, 512 if setting.tiny else 8192)
    # Weights are read twice and written once, gradients and two moments written and read: the least there is to move.
    moved = parameters_of(side.module) * 4 * 10
    return {
        "share_of_arithmetic_limit": round(side.flops() / seconds / peak, 4),
        "share_of_bandwidth_limit": round(
            moved / seconds / memory_bandwidth(setting.device, 64 if setting.tiny else 1024), 4
        ),
        "bf16_peak_tflops": round(peak / 1e12, 2),
    }


def _smoke(setting: Setting) -> dict[str, Any]:
    """The fusion preset's model, from random weights, by the default objectives; hard negatives of the test split."""
    begin = time.perf_counter()
    values = preset(harness.ROOT, setting.folder, PRESETS[1])
    default = preset(harness.ROOT, setting.folder, None)
    values["pretrain"] = default["pretrain"]
    values["model"]["fusion"]["counting_heads"] = 2  # which the default's grounding shows where to open
    curve = {}
    module: Any = None
    shares = {"look": 0.25, "point": 0.2, "read": 0.55}
    for phase, share in shares.items():
        end = time.perf_counter() + share * setting.smoke_seconds
        fresh, recipe = pretraining(values, setting.made.prepared, phase, tiny=setting.tiny)
        if module is None:
            module = fresh
        module.begin(_phase(values, phase))
        recipe = _recipe(setting, recipe, batch_size=8 if setting.tiny else 64, learning_rate=3e-4)
        losses = []
        for taken in Side(module, setting.made.prepared, recipe, setting.device).steps():
            losses.append(taken.loss)
            if time.perf_counter() > end:
                break
        curve[phase] = {"steps": len(losses), "first": round(losses[0], 4), "last": round(losses[-1], 4)}
    return {
        "smoke": {
            "hard_negative_accuracy": _judged(setting, default, module),
            "phases": curve,
            "seconds": round(time.perf_counter() - begin, 1),
        }
    }


def _phase(values: dict[str, Any], name: str) -> Any:
    return parse(PretrainParams, values["pretrain"], "pretrain").phases[name]


def _judged(setting: Setting, values: dict[str, Any], module: Any) -> float:
    """Hard negatives of the test split, by the head of pre-training, on this device."""
    plugin = find("vlp.tasks", "matching")
    task = plugin.Task(
        parse(plugin.Params, values["tasks"]["matching"], "tasks.matching"), module.model, setting.made.prepared
    )
    task.warm_start({"matching": module.heads["matching"].state_dict()})
    task.to(setting.device).eval()
    test = setting.made.prepared.split("test")
    batch_size = 8 if setting.tiny else 64
    plans = Plans(len(test), batch_size, max(1, len(test) // batch_size), 0)
    right, count = 0.0, 0
    with torch.no_grad(), torch.autocast(setting.device.type, torch.bfloat16):
        for batch in loader(test, task.collate, plans, seed=0):
            found = task(to_device(batch, setting.device))
            right += float(found["pair_accuracy"]) * len(batch.targets["true"])
            count += len(batch.targets["true"])
    return round(right / count, 4)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Training on one GPU: checks, times, smoke.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small models and data: tries the script itself")
    parser.add_argument(
        "--parts", nargs="+", default=["checks", "times", "smoke"], choices=["checks", "times", "smoke"]
    )
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--smoke-seconds", type=float, default=240.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "vlp-benchmark-training")
    arguments = parser.parse_args()
    arguments.workers = 0 if arguments.tiny else arguments.workers
    return arguments


if __name__ == "__main__":
    main()
