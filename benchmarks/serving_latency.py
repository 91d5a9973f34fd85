"""Latency of one batch of image–text pairs: the served runtime, PyTorch eager, plain ONNX Runtime, in turn.

    python benchmarks/serving_latency.py [--small models/bundle] [--rounds 15]

The model is the reference model at full size (``benchmarks/reference.py``). The served runtime is
``Predictor.open(…, runtime="auto", tolerance=0.02)``: what that takes is in the result, with the parity it showed;
``int8`` is the same on graphs of eight bits, as ``export.int8`` makes them.
With ``--small``, start-up time and memory of the service on that bundle, and the size of what it needs installed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from benchmarks import harness, reference
from vlp.runtime.predictor import Predictor
from vlp.runtime.threads import usable_processors

BATCHES, LENGTH, TOLERANCE = (1, 8), 16, 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=Path, help="a bundle to measure start-up and memory of the service on")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--work", type=Path, help="where the reference bundle is kept between runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = latency(arguments.work or Path(folder), arguments.rounds)
    if arguments.small:
        found |= start_up(arguments.small)
    harness.write("serving_latency", found)


def latency(folder: Path, rounds: int) -> dict[str, Any]:
    bundle = reference.write(folder)
    threads = usable_processors()
    torch.set_num_threads(threads)
    model = reference.task(folder)
    ours = Predictor.open(bundle, threads=threads, verify=False, runtime="auto", tolerance=TOLERANCE)
    plain = Predictor.open(bundle, threads=threads, verify=False)
    light = Predictor.open(
        reference.write_int8(folder), threads=threads, verify=False, runtime="auto", tolerance=TOLERANCE
    )
    sides = {"ours": onnx(ours), "int8": onnx(light), "onnxruntime": onnx(plain), "torch_eager": eager(model)}
    samples: dict[str, list[float]] = {}
    apart = {}
    for batch in BATCHES:
        images, ids = inputs(batch)
        logits = {name: run(images, ids) for name, run in sides.items()}
        for name, label in (("ours", ""), ("int8", "int8_")):
            apart[f"{label}batch{batch}"] = float(np.abs(logits[name] - logits["torch_eager"]).max())
        for _ in range(rounds):
            for name, run in sides.items():
                begun = time.perf_counter()
                run(images, ids)
                samples.setdefault(f"{name}_batch{batch}_ms", []).append(1000 * (time.perf_counter() - begun))
    return {
        "rounds": rounds,
        "samples": {name: [round(value, 3) for value in values] for name, values in samples.items()},
        "median_ms": {name: round(median(values), 2) for name, values in samples.items()},
        "ratios": {
            f"{label}batch{batch}_vs_{side}": harness.ratio(
                samples[f"{side}_batch{batch}_ms"], samples[f"{mine}_batch{batch}_ms"]
            )
            for mine, label in (("ours", ""), ("int8", "int8_"))
            for batch in BATCHES
            for side in ("torch_eager", "onnxruntime")
        },
        "engines": {name: choice.engine for name, choice in ours.engines.items()},
        "refused": {name: dict(choice.refused) for name, choice in ours.engines.items()},
        "int8_engines": {name: choice.engine for name, choice in light.engines.items()},
        "logits_apart": apart,
    }


def inputs(batch: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(batch)
    shape = (batch, reference.SIZE, reference.SIZE, 3)
    return rng.integers(0, 256, shape, np.uint8), rng.integers(1000, 30_000, (batch, LENGTH))


def onnx(predictor: Predictor) -> Any:
    graphs = predictor.task("matching").graphs

    def run(images: np.ndarray, ids: np.ndarray) -> np.ndarray:
        features = graphs["image"]({"images": images})
        return graphs["score"]({**features, "input_ids": ids, "attention_mask": np.ones_like(ids)})["logit"]

    return run


def eager(model: Any) -> Any:
    def run(images: np.ndarray, ids: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            tokens = torch.from_numpy(ids)
            features = model.model.encode_image(torch.from_numpy(images))
            return model.logits(features, tokens, torch.ones_like(tokens)).numpy()

    return run


def start_up(bundle: Path) -> dict[str, Any]:
    """Seconds from the command to ready, and megabytes of the worker, on a small model; medians of five."""
    seconds, megabytes = [], []
    for _ in range(5):
        begun = time.perf_counter()
        with harness.served([sys.executable, "-m", "service", "--bundle", str(bundle)]) as (_, pid):
            seconds.append(time.perf_counter() - begun)
            megabytes.append(harness.memory_mb(pid))
    return {
        "cold_start_s": round(median(seconds), 2),
        "worker_memory_mb": round(median(megabytes)),
        "environment_mb": round(installed()),
    }


def installed() -> float:
    """Megabytes of everything in service/requirements.txt, as installed here."""
    total = 0
    for line in (harness.ROOT / "service" / "requirements.txt").read_text(encoding="utf-8").splitlines():
        try:
            files = metadata.files(line.partition("==")[0]) or []
        except metadata.PackageNotFoundError:  # for another platform
            continue
        total += sum(file.locate().stat().st_size for file in files if file.locate().is_file())
    return total / 1e6


if __name__ == "__main__":
    main()
