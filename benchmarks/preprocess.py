"""From JPEG files to what training reads, per core: this project beside the loop that everyone writes first.

    python benchmarks/preprocess.py ../shared/data/coco-sample/images [--img2dataset PYTHON]

* **pillow_loop**: open, convert to RGB, resize, `torch.save` of the tensor, a file each.
* **vlp**: `vlp.preprocessing.image.prepare` (which also checks, repairs and notes) into Arrow shards.
* **entropy_decoding**: libjpeg alone, at an eighth of the size, where it hardly does more than read the coded data:
  what no scaled decoding can go below, whatever stands around it.
* **img2dataset**: its own resizer (OpenCV), if PYTHON is the interpreter of an environment that has it:
  `uv venv /tmp/i2d && uv pip install --python /tmp/i2d/bin/python img2dataset`.

Every side reads the same files, at their native sizes, repeated until there are enough, in one process with one thread.
They take turns. At 64 pixels (this project's default) and at 224; there also with `jpeg_margin: 1`. `difference` is how
far a scaled decoding lies from a full one, in levels of 255.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image

from benchmarks import harness
from vlp.data import examples
from vlp.preprocessing.image import ImageParams, prepare
from vlp.records import Example

IMG2DATASET = """
import io, sys, time
from pathlib import Path
import cv2
cv2.setNumThreads(1)
from img2dataset.resizer import Resizer
size, out, *files = sys.argv[1:]
resizer = Resizer(image_size=int(size), resize_mode="center_crop", resize_only_if_bigger=False, encode_quality=95)
start = time.perf_counter()
for number, file in enumerate(files):
    data, *_, error = resizer(io.BytesIO(Path(file).read_bytes()))
    assert error is None, error
    Path(out, f"{number}.jpg").write_bytes(data)
print(time.perf_counter() - start)
"""


def pillow_loop(files: list[Path], size: int, out: Path) -> None:
    for number, file in enumerate(files):
        with Image.open(file) as image:
            resized = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
        torch.save(torch.from_numpy(np.array(resized)).permute(2, 0, 1), out / f"{number}.pt")


def vlp(files: list[Path], size: int, out: Path, margin: float = 2.0) -> None:
    params = ImageParams(size=size, jpeg_margin=margin)
    with examples.writer(out, "train") as writer:
        for number, file in enumerate(files):
            pixels = prepare(file.read_bytes(), params).pixels
            example = Example(
                id=str(number),
                group="",
                image=pixels,
                captions=(),
                labels=(),
                questions=(),
                regions=(),
                annotation=None,
            )
            writer.add((example, {}))


def entropy_decoding(files: list[Path], _size: int, _out: Path) -> None:
    for file in files:
        with Image.open(BytesIO(file.read_bytes())) as image:
            image.draft(image.mode, (image.width // 8, image.height // 8))
            image.load()


def timed(side: Callable[[list[Path], int, Path], None], files: list[Path], size: int) -> float:
    """Seconds; what is written goes again."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        side(files, size, Path(folder))
        return time.perf_counter() - start


def img2dataset(python: str, files: list[Path], size: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-c", IMG2DATASET, str(size), folder, *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"img2dataset: {done.stderr[-600:]}")
        return float(done.stdout.split()[-1])


def difference(files: list[Path], size: int, margin: float) -> dict[str, float]:
    """A scaled decoding against a full one: mean absolute difference, and what 99.9 % of the values stay below."""
    full, scaled = (
        np.concatenate(
            [prepare(f.read_bytes(), ImageParams(size=size, jpeg_margin=m)).pixels.ravel() for f in files]
        ).astype(np.int16)
        for m in (8.0, margin)
    )
    apart = np.abs(full - scaled)
    return {"mean": round(float(apart.mean()), 3), "p99_9": float(np.percentile(apart, 99.9))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--img2dataset", metavar="PYTHON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    once = sorted(arguments.folder.glob("*.jp*g"))
    if not once:
        raise SystemExit(f"{arguments.folder}: no JPEG files")
    files = [once[number % len(once)] for number in range(arguments.images)]
    sides: dict[str, Callable[[], float]] = {}
    for size in (64, 224):
        sides[f"pillow_loop_{size}"] = lambda size=size: timed(pillow_loop, files, size)
        sides[f"vlp_{size}"] = lambda size=size: timed(vlp, files, size)
        if arguments.img2dataset:
            sides[f"img2dataset_{size}"] = lambda size=size: img2dataset(arguments.img2dataset, files, size)
    sides["entropy_decoding"] = lambda: timed(entropy_decoding, files, 0)
    sides["vlp_224_margin_1"] = lambda: timed(lambda *a: vlp(*a, margin=1.0), files, 224)
    for side in (pillow_loop, vlp):
        timed(side, files[:100], 64)
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(arguments.rounds):
        for name, run in sides.items():
            samples[name].append(round(run(), 3))
            print(f"round {number + 1}: {name}: {samples[name][-1]} s", file=sys.stderr, flush=True)
    ratios = {
        "vs_pillow_loop": harness.ratio(samples["pillow_loop_64"], samples["vlp_64"]),
        "vs_pillow_loop_at_most": harness.ratio(samples["pillow_loop_64"], samples["entropy_decoding"]),
        "vs_pillow_loop_224": harness.ratio(samples["pillow_loop_224"], samples["vlp_224"]),
        "vs_pillow_loop_224_margin_1": harness.ratio(samples["pillow_loop_224"], samples["vlp_224_margin_1"]),
    }
    if arguments.img2dataset:
        ratios["vs_img2dataset"] = harness.ratio(samples["img2dataset_64"], samples["vlp_64"])
        ratios["vs_img2dataset_224"] = harness.ratio(samples["img2dataset_224"], samples["vlp_224"])
        ratios["vs_img2dataset_224_margin_1"] = harness.ratio(samples["img2dataset_224"], samples["vlp_224_margin_1"])
    found: dict[str, Any] = {
        "images": len(files),
        "different_images": len(once),
        "rounds": arguments.rounds,
        "ratios": ratios,
        "images_per_second": {name: round(len(files) / min(times), 1) for name, times in samples.items()},
        "difference": {
            "64": difference(once, 64, 2.0),
            "224": difference(once, 224, 2.0),
            "224_margin_1": difference(once, 224, 1.0),
            "64_margin_1": difference(once, 64, 1.0),
        },
        "samples": samples,
    }
    harness.write("preprocess", json.loads(json.dumps(found)))


if __name__ == "__main__":
    main()
