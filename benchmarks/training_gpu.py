"""Training on one GPU: does it work, how fast is it, does the full-size model learn? One command, under ten minutes.

    python benchmarks/training_gpu.py                       # on an H100 or H200: benchmarks/results/training_gpu.json
    python benchmarks/training_gpu.py --device cpu --tiny   # tries the script itself, in a minute or two

``checks``: both full-size presets take bf16 steps to finite losses, and a run that is cut goes on to the same weights.
``times``: pairs a second of ITM + ITC + MLM at 224 px from shards on disk, beside the same from a batch that is there
already (what input costs), the plain float32 loop, and open_clip's RN50 fed from the same shards, step by step in turns
with ours, both with texts of one length, and the arithmetic of each counted; shares of the
arithmetic and bandwidth limits that are measured in the same run. ``profile``: where a step's milliseconds go.
``memory``: speed and gigabytes by batch size. ``smoke``: the full-size model learns matching on scenes at 224 px.
``compiled``: the same steps with ``compile: true``.
Each part writes what it has when it is over.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
    bytes_at_least,
    longest_caption,
    matrix_peak,
    memory_bandwidth,
    parameters_of,
    preset,
    pretraining,
)
from benchmarks.training_rivals import PlainModel, PlainPairs, Taken, flops_of, open_clip_loop, plain_loop
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
BATCHES = (64, 128, 256)
SMOKE = {"look": (0.13, 64, 1e-3), "point": (0.14, 64, 4e-4), "read": (0.58, 64, 4e-4), "matching": (0.15, 64, 2.5e-4)}
"""Of each phase of the smoke run: its share of the seconds, images a step, learning rate."""
RATES = {"text_encoder": 0.1}
"""At the whole rate all tokens have become one within twenty steps, and stay so: docs/experiments.md."""


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
    made = make(arguments.folder / f"gpu-{tiny}", 160 if tiny else arguments.records, 64 if tiny else 224)
    setting = Setting(
        device=device, tiny=tiny, folder=arguments.folder, made=made, batch=8 if tiny else arguments.batch,
        workers=arguments.workers, rounds=2 if tiny else 20, smoke_seconds=5.0 if tiny else arguments.smoke_seconds,
    )  # fmt: skip
    name = "training_gpu_tiny" if tiny else "training_gpu"
    path = harness.RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"ratios": {}}
    found = {key: value for key, value in found.items() if key not in ("machine", "command", "commit", "at")}
    print(f"{arguments.records} records: {time.perf_counter() - begin:.1f} s", flush=True)
    for part in arguments.parts:
        start = time.perf_counter()
        found |= PARTS[part](setting)
        # A GPU is lent for minutes: parts of one file may come from different days, and cards.
        card = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        found["runs"] = {**found.get("runs", {}), part: {"device": card, **harness.made()}}
        found[f"{part}_s"] = round(time.perf_counter() - start, 1)
        harness.write(name, found)


def _recipe(setting: Setting, recipe: Recipe, **more: Any) -> Recipe:
    values = {"batch_size": setting.batch, "workers": setting.workers, "compile": False, **more}
    return recipe.model_copy(update=values)


def _side(setting: Setting, values: dict[str, Any], length: int = 0, **more: Any) -> Side:
    module, recipe = pretraining(values, setting.made.prepared, PHASE, tiny=setting.tiny)
    return Side(module, setting.made.prepared, _recipe(setting, recipe, **more), setting.device, length)


def _checks(setting: Setting) -> dict[str, Any]:
    """Both presets take steps; a cut run resumes. Raises where one does not."""
    found: dict[str, Any] = {}
    for name in PRESETS:
        side = _side(setting, preset(harness.ROOT, setting.folder, name))
        taken = list(islice(side.steps(), 4))
        if not all(each.loss == each.loss and abs(each.loss) < float("inf") for each in taken):
            raise SystemExit(f"error: {name}: losses {[each.loss for each in taken]}")
        found[name] = {"parameters": parameters_of(side.module), "losses": [round(each.loss, 4) for each in taken]}
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
                short = _recipe(setting, recipe, steps=6, save_every=2, log_every=1, batch_size=8, workers=0)
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


class _Rates:
    """Images and pairs a second of whatever takes steps, and the seconds of each step."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.images: dict[str, float] = {}
        self.pairs: dict[str, float] = {}
        self.samples: dict[str, list[float]] = {}

    def measure(self, name: str, steps: Iterator[Taken], batch: int, captions: int = 1, rounds: int = 0) -> None:
        """Time ``rounds`` steps of ``batch`` images, the first few left out."""
        self._keep(name, list(islice(steps, 4, 4 + (rounds or self.setting.rounds))), batch, captions)

    def measure_in_turns(self, sides: dict[str, Iterator[Taken]], batch: int) -> None:
        """Time steps of ``batch`` images of each side, one of each in turn: what else goes on meets all alike."""
        rounds = list(islice(zip(*sides.values(), strict=True), 4, 4 + self.setting.rounds))
        for name, taken in zip(sides, zip(*rounds, strict=True), strict=True):
            self._keep(name, taken, batch)

    def _keep(self, name: str, taken: Sequence[Taken], batch: int, captions: int = 1) -> None:
        seconds = [round(each.seconds, 5) for each in taken]
        self.samples[name] = seconds
        self.images[name] = round(batch / median(seconds), 1)
        self.pairs[name] = round(captions * batch / median(seconds), 1)


def _times(setting: Setting) -> dict[str, Any]:
    """Images and pairs a second of everything, and the limits."""
    prepared, device, batch = setting.made.prepared, setting.device, setting.batch
    rates = _Rates(setting)
    values = preset(harness.ROOT, setting.folder, PRESETS[1])
    several = values["pretrain"]["captions_per_image"]
    side = _side(setting, values)
    rates.measure("ours", side.steps(), batch, several)
    limits = _limits(setting, side, batch, several)
    held = to_device(next(iter(side.batches)), device)
    side.batches = itertools.repeat(held, FOREVER)  # type: ignore[assignment]
    rates.measure("ours_without_input", side.steps(), batch, several)
    del side
    for share in ("share_of_arithmetic_limit", "share_of_bandwidth_limit"):
        limits[share] = round(limits.pop(f"{share}_seconds") / median(rates.samples["ours"]), 4)
    one = copy.deepcopy(values)
    one["pretrain"]["captions_per_image"] = 1
    one["pretrain"]["objectives"]["masked_text"]["captions_per_image"] = 1
    rates.measure("ours_one_caption", _side(setting, one).steps(), batch)
    for name, workers in (("plain_loop", 0), ("plain_loop_workers", setting.workers)):
        tokenizer = prepared.folder / "tokenizer" / "tokenizer.json"
        pairs = PlainPairs(setting.made.pairs, tokenizer, prepared.image_size, 32)
        model = PlainModel(backbone(values, prepared, tiny=setting.tiny))
        plain = plain_loop(model, pairs, batch // 2, 1e-4, device, workers)
        rates.measure(name, plain, batch // 2, rounds=max(2, setting.rounds // 4))
        del plain, model
    alone = copy.deepcopy(one)
    alone["pretrain"]["objectives"] = {"contrastive": alone["pretrain"]["objectives"]["contrastive"]}
    alone["pretrain"]["phases"][PHASE]["objectives"] = ["contrastive"]
    beside = _beside_open_clip(setting, alone, rates)
    return {
        "pairs_per_second": rates.pairs["ours"],
        "images_per_second": rates.images["ours"],
        "images_per_second_of": rates.images,
        "pairs_per_second_of": rates.pairs,
        "batch": batch,
        "captions_per_image": several,
        "ratios": {
            "vs_plain_loop": round(rates.pairs["ours"] / rates.pairs["plain_loop"], 2),
            "vs_plain_loop_workers": round(rates.pairs["ours"] / rates.pairs["plain_loop_workers"], 2),
            "one_caption_vs_plain_loop_workers": round(
                rates.pairs["ours_one_caption"] / rates.pairs["plain_loop_workers"], 2
            ),
            "vs_open_clip": harness.ratio(rates.samples["open_clip"], rates.samples["ours_contrastive"]),
            "input_share": round(1 - rates.pairs["ours"] / rates.pairs["ours_without_input"], 3),
        },
        **limits,
        **beside,
        "samples": rates.samples,
    }


def _beside_open_clip(setting: Setting, values: dict[str, Any], rates: _Rates) -> dict[str, Any]:
    """Time the contrastive loss alone beside open_clip's, texts of one length on both sides; the arithmetic of each."""
    prepared, device, batch = setting.made.prepared, setting.device, 2 * setting.batch
    length = longest_caption(prepared)
    side = _side(setting, values, length, batch_size=batch)
    theirs = open_clip_loop(
        prefetched(side.batches, device), prepared.image_size, length, device, bf16=True, tiny=setting.tiny
    )
    flops = {"ours_contrastive": side.flops() / batch, "open_clip": flops_of(theirs)}
    rates.measure_in_turns({"ours_contrastive": side.steps(), "open_clip": theirs}, batch)
    gflops = {name: round(each / 1e9, 3 if setting.tiny else 1) for name, each in flops.items()}
    return {"open_clip_tokens": length, "gflop_a_pair_of": gflops}


def _limits(setting: Setting, side: Side, batch: int, captions: int) -> dict[str, float]:
    """What a step would take if only arithmetic, or only the least movement of memory, cost time."""
    peak = matrix_peak(setting.device, 512 if setting.tiny else 8192)
    bandwidth = memory_bandwidth(setting.device, 64 if setting.tiny else 1024)
    flops = side.flops()
    moved = bytes_at_least(side)
    return {
        "share_of_arithmetic_limit_seconds": flops / peak,
        "share_of_bandwidth_limit_seconds": moved / bandwidth,
        "gflop_a_pair": round(flops / batch / captions / 1e9, 1),
        "least_megabytes_a_pair": round(moved / batch / captions / 1e6, 1),
        "bf16_peak_tflops": round(peak / 1e12, 1),
        "bandwidth_gb_s": round(bandwidth / 1e9, 1),
    }


def _profile(setting: Setting) -> dict[str, Any]:
    """Where the device's time of a step goes, by kind of kernel, and how much of the step it stands idle."""
    from torch.profiler import ProfilerActivity, profile

    side = _side(setting, preset(harness.ROOT, setting.folder, PRESETS[1]))
    steps = side.steps()
    list(islice(steps, 5))
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if setting.device.type == "cuda" else [])
    with profile(activities=kinds) as found:
        taken = list(islice(steps, 3))
    shares: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    for event in found.key_averages():
        spent = event.self_device_time_total if setting.device.type == "cuda" else event.self_cpu_time_total
        if setting.device.type == "cuda" and event.device_type.name != "CUDA":
            continue
        shares[_kind(event.key)] += spent
        kernels[event.key[:90]] += spent
    whole = sum(each.seconds for each in taken) * 1e6
    return {
        "profile": {
            "milliseconds_a_step": round(whole / 1e3 / len(taken), 1),
            "share": {kind: round(spent / whole, 3) for kind, spent in shares.most_common()},
            "idle_share": round(1 - sum(shares.values()) / whole, 3),
            "kernels": {name: round(spent / whole, 3) for name, spent in kernels.most_common(20)},
        }
    }


def _kind(kernel: str) -> str:
    """What a kernel does, by its name."""
    name = kernel.lower()
    kinds = {
        "copy": ("memcpy", "memset"),
        "convolution": ("conv", "cudnn", "wgrad", "dgrad", "fprop", "implicit"),
        "batch normalisation": ("batch_norm", "bn_fw", "bn_bw"),
        "matrix product": ("gemm", "cutlass", "nvjet", "matmul", "addmm", "::mm", "aten::bmm"),
        "optimiser": ("adam", "multi_tensor", "foreach"),
        "attention": ("flash", "fmha", "attention", "softmax"),
        "compiled (norms, activations, sums)": ("triton",),
    }
    return next((kind for kind, words in kinds.items() if any(word in name for word in words)), "other")


def _compiled(setting: Setting) -> dict[str, Any]:
    """The same steps with ``compile: true``: pairs a second, and what the first step costs."""
    values = preset(harness.ROOT, setting.folder, PRESETS[1])
    rates, steps = _Rates(setting), _side(setting, values, compile=True).steps()
    first = next(steps).seconds
    rates.measure("this", steps, setting.batch, values["pretrain"]["captions_per_image"])
    return {"compiled": {"pairs_per_second": rates.pairs["this"], "first_step_s": round(first, 1)}}


def _memory(setting: Setting) -> dict[str, Any]:
    """Pairs a second and gigabytes by batch size, of both presets, not compiled."""
    table: list[dict[str, Any]] = []
    for name in PRESETS:
        values = preset(harness.ROOT, setting.folder, name)
        sizes = (4, 8) if setting.tiny else BATCHES
        for recompute, batch in [*((False, size) for size in sizes), (True, sizes[-1])]:
            row: dict[str, Any] = {"preset": name, "batch": batch, "recompute": recompute}
            try:
                row |= _sized(setting, values, batch, recompute=recompute)
            except torch.OutOfMemoryError:
                row["gigabytes"] = None
            table.append(row)
    return {"memory": table}


def _sized(setting: Setting, values: dict[str, Any], batch: int, *, recompute: bool) -> dict[str, Any]:
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.device)
    rates = _Rates(setting)
    side = _side(setting, values, batch_size=batch, recompute=recompute, workers=min(4, setting.workers))
    rates.measure("this", side.steps(), batch, values["pretrain"]["captions_per_image"], rounds=4)
    peak = torch.cuda.max_memory_allocated(setting.device) if setting.device.type == "cuda" else 0
    return {"pairs_per_second": rates.pairs["this"], "gigabytes": round(peak / 2**30, 1)}


def _smoke(setting: Setting) -> dict[str, Any]:
    """The fusion preset's model, from random weights, by the default objectives; hard negatives of the test split."""
    begin = time.perf_counter()
    values = preset(harness.ROOT, setting.folder, PRESETS[1])
    default = preset(harness.ROOT, setting.folder, None)
    values["pretrain"] = default["pretrain"]
    values["model"]["fusion"]["counting_heads"] = 2  # which the default's grounding shows where to open
    for part in ("fusion", "text"):
        values["model"][part]["dropout"] = 0.0  # as the default: captions and masks are drawn anew at every step
    curve: dict[str, Any] = {}
    module, _ = pretraining(values, setting.made.prepared, "look", tiny=setting.tiny)
    section = parse(PretrainParams, values["pretrain"], "pretrain")
    for number, name in enumerate(("look", "point", "read")):
        module.begin(section.phases[name])
        curve[name] = _fitted(setting, module, section.phases[name].training, name, module.weights, number)
        print(json.dumps({name: curve[name]}), flush=True)  # should the machine be taken back
    plugin = find("vlp.tasks", "matching")
    params = parse(plugin.Params, default["tasks"]["matching"], "tasks.matching")
    task = plugin.Task(params, module.model, setting.made.prepared)
    task.warm_start({"matching": module.heads["matching"].state_dict()})
    curve["matching"] = _fitted(setting, task, params.training, "matching", {}, 9)
    print(json.dumps(curve["matching"]), flush=True)
    return {
        "smoke": {
            "hard_negative_accuracy": _judged(setting, task),
            "records": len(setting.made.prepared.split("train")),
            "phases": curve,
            "seconds": round(time.perf_counter() - begin, 1),
        }
    }


def _fitted(
    setting: Setting, module: Any, recipe: Recipe, phase: str, weights: dict[str, float], seed: int
) -> dict[str, Any]:
    """Train for the phase's share of the seconds: as many steps as fit, by the time of the first few."""
    share, batch, rate = SMOKE[phase]
    batch = 8 if setting.tiny else batch
    prepared, seconds = setting.made.prepared, share * setting.smoke_seconds
    begin = time.perf_counter()
    short = _recipe(setting, recipe, batch_size=batch, steps=16, save_every=0)
    state = copy.deepcopy(module.state_dict())
    taken = [each.seconds for each in islice(Side(module, prepared, short, setting.device).steps(), 8)]
    module.load_state_dict(state)
    left = seconds - (time.perf_counter() - begin)
    steps = max(4, round(left / median(taken[3:])))
    whole = _recipe(
        setting, recipe, batch_size=batch, steps=steps, learning_rate=rate, rates=RATES, warmup_share=0.1, save_every=0,
        log_every=max(1, steps // 6),
    )  # fmt: skip
    train = prepared.split("train")
    plans = Plans(len(train), batch, steps, seed)
    batches = loader(train, module.collate, plans, seed=seed, workers=setting.workers)
    history = fit(module, batches, whole, weights)
    wanted = ("tag_overlap", "looked_there", "itm_loss", "pair_accuracy", "mlm_accuracy", "answer_accuracy", "accuracy")
    return {
        "steps": steps,
        "images_per_second": round(history.examples_per_second, 1),
        "curve": [{name: row[name] for name in ("step", *wanted) if name in row} for row in history.rows],
    }


def _judged(setting: Setting, task: Any) -> float:
    """Hard negatives of the whole test split, on this device: the share in which the true one scores higher."""
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


PARTS: dict[str, Callable[[Setting], dict[str, Any]]] = {
    "checks": _checks,
    "times": _times,
    "smoke": _smoke,
    "profile": _profile,
    "memory": _memory,
    "compiled": _compiled,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Training on one GPU: checks, times, profile, memory, smoke.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small models and data: tries the script itself")
    parser.add_argument("--parts", nargs="+", default=[*PARTS], choices=[*PARTS])
    parser.add_argument("--batch", type=int, default=128, help="images a step")
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--smoke-seconds", type=float, default=220.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "vlp-benchmark-training")
    arguments = parser.parse_args()
    arguments.workers = 0 if arguments.tiny else arguments.workers
    return arguments


if __name__ == "__main__":
    main()
