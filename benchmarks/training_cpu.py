"""Training on CPU cores: against the tutorial's plain loop, HF Trainer and open_clip; loading, processes, checkpoints.

    python benchmarks/training_cpu.py                 # about five minutes; the machine to itself
    python benchmarks/training_cpu.py --parts memory  # adds memory by batch size; a few minutes more

Both sides of a pair take turns in one process. The plain loop has the same backbone, starts from the same weights and
sees as many pairs a step; its images are encoded once a pair, as tutorials do it. ``--pretrained`` names the backbone
that both start from, so that losses fall far enough to be compared. Full size is ResNet-50 and BERT-base at 224 px.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psutil
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import harness
from benchmarks.training_data import Made, make
from benchmarks.training_ours import (
    Side,
    backbone,
    bytes_at_least,
    longest_caption,
    matching,
    matrix_peak,
    memory_bandwidth,
    preset,
    pretraining,
)
from benchmarks.training_rivals import (
    PlainModel,
    PlainPairs,
    Taken,
    dual_encoder_run,
    flops_of,
    open_clip_loop,
    plain_loop,
)
from vlp.allocation import keep_freed_memory
from vlp.data.loading import Plans, loader
from vlp.data.prefetch import prefetched
from vlp.models.modeling import VLPModel
from vlp.training.checkpoints import Checkpoints
from vlp.training.resume import History, Run, Trained

CPU = torch.device("cpu")
PARTS = ("default", "full", "loading", "checkpoints", "scaling", "profile")
WIDE = 32
"""Pairs a step of the full-size model: four times as many share what a step pays for its 135 million weights."""


def main() -> None:
    """Measure the parts that are asked for and write them beside those that are there already."""
    arguments = _arguments()
    if arguments.worker:
        return _work(arguments)
    keep_freed_memory()  # as the stages do; every side has it
    path = harness.RESULTS / "training_cpu.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"ratios": {}, "samples": {}}
    found = {key: value for key, value in found.items() if key not in ("machine", "command", "commit", "at")}
    small = make(arguments.folder / "64", 600, 64)
    for part in arguments.parts:
        found = globals()[f"_{part}"](arguments, small, found)
        harness.write("training_cpu", found)
    return None


def _turns(sides: dict[str, Iterator[Taken]], rounds: int, warm: int = 1) -> dict[str, list[Taken]]:
    """Each side's steps, one of each in turn, the first ``warm`` rounds left out."""
    found: dict[str, list[Taken]] = {name: [] for name in sides}
    for _ in range(rounds + warm):
        for name, side in sides.items():
            found[name].append(next(side))
    return {name: taken[warm:] for name, taken in found.items()}


def _per_pair(taken: list[Taken]) -> list[float]:
    return [each.seconds / each.pairs for each in taken]


def _default(arguments: argparse.Namespace, made: Made, found: dict[str, Any]) -> dict[str, Any]:
    """The default model's matching task, and the same pairs through the plain loop."""
    values = preset(harness.ROOT, arguments.folder, None)
    pretrained = arguments.pretrained
    prepared = made.prepared
    task, recipe = matching(values, prepared, pretrained)
    model = VLPModel.from_pretrained(pretrained) if pretrained else backbone(values, prepared)
    ours = Side(task, prepared, recipe, CPU).steps()
    first = next(ours)
    pairs = PlainPairs(made.pairs, prepared.folder / "tokenizer" / "tokenizer.json", 64, 32)
    sides = {"ours": ours, "plain": plain_loop(PlainModel(model), pairs, first.pairs, recipe.learning_rate, CPU)}
    taken = _turns(sides, arguments.rounds)
    found["ratios"]["vs_plain_loop"] = harness.ratio(_per_pair(taken["plain"]), _per_pair(taken["ours"]))
    found["default"] = {
        "pairs_a_step": first.pairs,
        "pairs_per_second": {name: round(1 / median(_per_pair(each)), 1) for name, each in taken.items()},
        "loss_after_as_many_pairs": {
            name: round(mean(one.loss for one in each[-5:]), 4) for name, each in taken.items()
        },
    }
    found["samples"]["default"] = {name: [one.seconds for one in each] for name, each in taken.items()}
    return found


def _full(arguments: argparse.Namespace, _: Made, found: dict[str, Any]) -> dict[str, Any]:
    """Full size, contrastive: a batch of 8 beside the plain loop, HF Trainer and open_clip, texts of one length on
    open_clip's side and ours; then how near batches of 8 and 32 come to what the processor multiplies and its memory
    moves.
    """
    made = make(arguments.folder / "224", 160, 224)
    prepared, batch = made.prepared, 8
    values = preset(harness.ROOT, arguments.folder, "resnet50-bert")
    values["pretrain"]["objectives"] = {"contrastive": values["pretrain"]["objectives"]["contrastive"]}
    values["pretrain"]["phases"]["read"]["objectives"] = ["contrastive"]
    module, recipe = pretraining(values, prepared, "read")
    recipe = recipe.model_copy(update={"batch_size": batch, "workers": 0, "compile": False})
    # open_clip's text tower reads as many tokens of every text as it is made for: so do ours.
    length = longest_caption(prepared)
    ours = Side(module, prepared, recipe, CPU, length)
    tokenizer = prepared.folder / "tokenizer" / "tokenizer.json"
    open_clip = open_clip_loop(prefetched(ours.batches, CPU), 224, length, CPU, bf16=True, tiny=False)
    gflops = {"ours": ours.flops() / batch / 1e9, "open_clip": flops_of(open_clip) / 1e9}
    sides = {
        "ours": ours.steps(),
        "plain": plain_loop(
            PlainModel(backbone(values, prepared)), PlainPairs(made.pairs, tokenizer, 224, 32), batch, 1e-4, CPU
        ),
        "open_clip": open_clip,
    }
    taken = _turns(sides, arguments.full_rounds)
    sizes = {
        "vocabulary": 30522, "text": values["model"]["text"], "depths": [3, 4, 6, 3],
        "hidden_sizes": [256, 512, 1024, 2048],
    }  # fmt: skip
    pairs = PlainPairs(made.pairs, tokenizer, 224, 32, true_only=True)
    for name, bf16 in (("hf_trainer_fp32", False), ("hf_trainer_bf16", True)):
        taken[name] = dual_encoder_run(pairs, sizes, batch, arguments.full_rounds + 1, bf16=bf16, cpu=True)
    limits = {f"batch_{batch}": _limits(ours, taken["ours"])}
    del sides
    ours = Side(module, prepared, recipe.model_copy(update={"batch_size": WIDE}), CPU)
    limits[f"batch_{WIDE}"] = _limits(ours, list(islice(ours.steps(), 4, 4 + arguments.full_rounds)))
    found["full"] = {
        "pairs_a_step": batch,
        "tokens_a_text": length,
        "gflop_a_pair": {name: round(each, 1) for name, each in gflops.items()},
        "pairs_per_second": {
            name: round(batch / median(one.seconds for one in each), 2) for name, each in taken.items()
        },
        "limits": limits,
    }
    found["ratios"]["full_vs_plain_loop"] = harness.ratio(_per_pair(taken["plain"]), _per_pair(taken["ours"]))
    found["ratios"]["full_vs_open_clip"] = harness.ratio(_per_pair(taken["open_clip"]), _per_pair(taken["ours"]))
    found["samples"]["full"] = {name: [one.seconds for one in each] for name, each in taken.items()}
    return found


def _limits(side: Side, taken: list[Taken]) -> dict[str, Any]:
    """A step against the bf16 matrix peak and the memory's bandwidth, both measured now."""
    seconds = median(each.seconds for each in taken)
    flops, least = side.flops(), bytes_at_least(side)
    peak, bandwidth = matrix_peak(CPU, 2048), memory_bandwidth(CPU)
    return {
        "pairs_per_second": round(side.recipe.batch_size / seconds, 2),
        "gflop_a_step": round(flops / 1e9),
        "bf16_peak_gflops": round(peak / 1e9),
        "share_of_bf16_peak": round(flops / seconds / peak, 3),
        "gb_a_step_at_least": round(least / 1e9, 1),
        "memory_gb_per_second": round(bandwidth / 1e9, 1),
        "share_of_bandwidth": round(least / seconds / bandwidth, 3),
    }


def _loading(arguments: argparse.Namespace, made: Made, found: dict[str, Any]) -> dict[str, Any]:
    """Images a second of each way to a batch, without training."""
    prepared, batch, count = made.prepared, 32, 10
    values = preset(harness.ROOT, arguments.folder, None)
    phase = list(values["pretrain"]["phases"])[-1]
    module, _ = pretraining(values, prepared, phase)
    task, _ = matching(values, prepared, None)
    train = prepared.split("train")
    pairs = PlainPairs(made.pairs, prepared.folder / "tokenizer" / "tokenizer.json", 64, 32)

    def rate(items: Iterator[Any], size: int) -> float:
        next(items)
        start = time.perf_counter()
        for _ in islice(items, count):
            pass
        return round(count * size / (time.perf_counter() - start), 1)

    rows = [np.arange(start, start + batch) for start in range(0, batch * (count + 1), batch)]
    found["loading_images_per_second"] = {
        "shards, pixels alone": rate((train.images(each.tolist()) for each in rows), batch),
        **{
            f"shards, all that {name} wants, {workers} workers": rate(
                iter(loader(train, collate, Plans(len(train), batch, count + 2, 0), seed=0, workers=workers)), batch
            )
            for name, collate in ((phase, module.collate), ("matching", task.collate))
            for workers in (0, 1)
        },
        "files, PIL in the loop, one text an image": rate(
            iter(torch.utils.data.DataLoader(pairs, batch_size=batch, shuffle=True)), batch
        ),
    }
    return found


def _checkpoints(arguments: argparse.Namespace, made: Made, found: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint of the default model costs, and how long a killed process takes to its first new step."""
    values = preset(harness.ROOT, arguments.folder, None)
    module, recipe = pretraining(values, made.prepared, list(values["pretrain"]["phases"])[-1])
    side = Side(module, made.prepared, recipe, CPU)
    steps = [one.seconds for one in islice(side.steps(), 1, 8)]
    saves = []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Checkpoints(Path(folder)))
        run.begin()
        for step in range(5):
            start = time.perf_counter()
            run.save(Trained(side.engine.module, side.engine.optimizer, History(), {}, step))
            saves.append(time.perf_counter() - start)
        command = [*_worker(arguments), "--resume", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
    found["checkpoints"] = {
        "seconds": round(median(saves), 3),
        "step_seconds": round(median(steps), 3),
        "every_steps": recipe.save_every,
        "share_of_training": round(median(saves) / (recipe.save_every * median(steps)), 4),
        "resume_to_first_new_step_s": round(json.loads(done.stdout.splitlines()[-1])["first_step_s"], 2),
    }
    return found


def _scaling(arguments: argparse.Namespace, _: Made, found: dict[str, Any]) -> dict[str, Any]:
    """The last phase of pre-training by one process on all cores, and by as many processes as cores."""
    cores = len(os.sched_getaffinity(0))
    rates = {}
    for processes in (1, cores):
        launch = _worker(arguments)
        if processes > 1:
            launch = [
                sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
                *launch[1:],
            ]  # fmt: skip
        done = subprocess.run(
            launch,
            capture_output=True,
            text=True,
            check=True,
            env=_environment(OMP_NUM_THREADS=str(cores // processes)),
        )
        rates[processes] = json.loads(done.stdout.splitlines()[-1])["images_per_second"]
    found["scaling_images_per_second"] = {f"{count} processes": rate for count, rate in rates.items()}
    return found


def _profile(arguments: argparse.Namespace, made: Made, found: dict[str, Any]) -> dict[str, Any]:
    """Where each millisecond of a step of the last phase of pre-training goes."""
    values = preset(harness.ROOT, arguments.folder, None)
    module, recipe = pretraining(values, made.prepared, list(values["pretrain"]["phases"])[-1])
    steps = Side(module, made.prepared, recipe, CPU).steps()
    for _ in range(3):
        next(steps)
    with profile(activities=[ProfilerActivity.CPU]) as found_by:
        for _ in range(4):
            next(steps)
    rows = sorted(found_by.key_averages(), key=lambda row: -row.self_cpu_time_total)
    whole = sum(row.self_cpu_time_total for row in rows)
    found["profile"] = {row.key: round(row.self_cpu_time_total / whole, 4) for row in rows[:20]}
    return found


def _memory(arguments: argparse.Namespace, _: Made, found: dict[str, Any]) -> dict[str, Any]:
    """Peak memory and seconds of a step of both full-size presets on this CPU, by batch size, a process each."""
    table = []
    for name in ("resnet50-bert", "resnet50-bert-fusion"):
        for batch, recompute in ((8, False), (16, False), (32, False), (32, True)):
            command = [*_worker(arguments), "--preset", name, "--batch", str(batch), *["--recompute"] * recompute]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
            table.append(
                {"preset": name, "batch": batch, "recompute": recompute, **json.loads(done.stdout.splitlines()[-1])}
            )
    found["memory"] = table
    return found


def _worker(arguments: argparse.Namespace) -> list[str]:
    return [sys.executable, str(Path(__file__)), "--worker", "--folder", str(arguments.folder)]


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(harness.ROOT), str(harness.ROOT / "src"))), **more}


def _work(arguments: argparse.Namespace) -> None:
    """What a process of its own does: some steps, then one line of JSON."""
    from vlp.models.distributed import rank, world
    from vlp.training.launch import join

    join()
    full = arguments.preset is not None
    made = make(arguments.folder / ("224" if full else "64"), 160 if full else 600, 224 if full else 64)
    values = preset(harness.ROOT, Path(tempfile.mkdtemp()), arguments.preset)
    module, recipe = pretraining(values, made.prepared, list(values["pretrain"]["phases"])[-1])
    update: dict[str, Any] = {"workers": 0, "compile": False, "recompute": arguments.recompute}
    if arguments.batch:
        update["batch_size"] = arguments.batch
    side = Side(module, made.prepared, recipe.model_copy(update=update), CPU)
    if arguments.resume:
        run = Run(Checkpoints(arguments.resume))
        run.begin()
        run.restore(Trained(side.engine.module, side.engine.optimizer, History(), {}))
    if isinstance(sampler := side.batches.sampler, Plans):
        sampler.share(rank=rank(), world=world())
    steps = side.steps()
    next(steps)
    first = time.time() - psutil.Process().create_time()
    taken = list(islice(steps, 2 if full else 12))
    seconds = median(one.seconds for one in taken)
    if rank() == 0:
        peak = psutil.Process().memory_info()
        found = {
            "images_per_second": round(side.recipe.batch_size / seconds, 1),
            "first_step_s": first,
            "seconds": round(seconds, 2),
            "peak_gb": round(getattr(peak, "peak_wset", 0) / 1e9 or _peak_gb(), 2),
        }
        print(json.dumps(found), flush=True)


def _peak_gb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=[*PARTS, "memory"])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--full-rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "vlp-benchmark-training")
    parser.add_argument("--pretrained", type=Path, default=None, help="a backbone that both sides start from")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--resume", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--preset", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--recompute", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
