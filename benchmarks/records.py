"""A million records from measuring to writing: is the time linear in their number, does memory stay where it was?

    python benchmarks/records.py --sizes 100000 300000 1000000      # or one size a run: earlier ones are kept

Records are synthetic: two captions of a few words each, a picture of one pixel, a group of one to three records; some
captions are broken, some pictures are copies. What is measured is the work of the stages: measure every record, judge
it, look for duplicates, lay out the tables and hold the expectations against them, split, train the tokenizer, write
shards. A picture of one pixel has no thumbnail to tell it by, so the measured one gets a thumbnail of noise; everything
else is as it is with real data. Ingested shards are made before the clock starts.

Time is that of the wall and of all processes' processors; `linear_fit` is R² of the straight line through the sizes and
processor times. Memory is the peak of the sum over all processes, twice: `peak_memory_gb` counts what only memory holds
(anonymous pages); `peak_mapped_gb` also counts pages of mapped files, which the system takes back when it needs them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psutil
import pyarrow as pa
from PIL import Image

from benchmarks import harness
from vlp.data import cleaning, expectations, judged, preparation, profile, quality, shards, validated
from vlp.data.engines import local
from vlp.data.frames import frames
from vlp.data.parallel import ordered_map
from vlp.data.split import SplitParams
from vlp.data.suite import ValidateParams
from vlp.params import parse
from vlp.preprocessing.image import ImageParams
from vlp.preprocessing.text import TextParams
from vlp.records import Measured, Record

IMAGE = ImageParams(size=16, min_side=1)
TEXT = TextParams(max_words=20, max_tokens=16, vocabulary=2000)
CLEAN = cleaning.CleanParams(colour_matters=False, min_contrast=0.0)
THRESHOLDS = {
    "mode": "warn",
    "min_records": 1,
    "max_unreadable_share": 0.5,
    "max_reject_share": 0.5,
    "max_duplicate_share": 0.5,
    "min_captioned_share": 0.5,
    "min_side": 1,
    "caption_words": [2, 20],
    "min_script_share": 0.5,
    "max_repeated_caption_share": 0.95,
    "max_label_share": 0.9,
    "max_answer_share": 0.9,
    "min_contrast": 0.0,
}
WORDS = np.array([f"word{number}" for number in range(3000)])
ROWS = shards.ROWS_PER_BATCH


def pixel(number: int) -> bytes:
    """A PNG of one pixel; no two of the first sixteen million are alike."""
    buffer = io.BytesIO()
    colour = number * 40503 % (1 << 24)  # odd: every colour comes once
    Image.new("RGB", (1, 1), (colour >> 16, (colour >> 8) & 255, colour & 255)).save(buffer, "PNG")
    return buffer.getvalue()


def ingest(folder: Path, count: int) -> None:
    """Shards of ``count`` records."""
    rng = np.random.default_rng(count)
    files = shards.Files(folder, "records", shards.RECORDS)
    for start in range(0, count, ROWS):
        numbers = range(start, min(start + ROWS, count))
        words = WORDS[rng.integers(len(WORDS), size=(len(numbers), 2, 6))]
        rows = [
            {
                "id": f"record-{n:08d}",
                "image": pixel(n - n % 2 if n % 200 == 1 else n),  # one in two hundred is a copy
                "image_name": f"{n}.png",
                "captions": [
                    {"text": "<b>" if n % 500 == 3 and place else " ".join(said), "negative": None, "kind": ""}
                    for place, said in enumerate(two)
                ],
                "group": f"group-{n // 3 if n % 5 else n + count:08d}",
                "labels": [f"label{n % 50}"],
            }
            for n, two in zip(numbers, words, strict=True)
        ]
        files.write(pa.RecordBatch.from_pylist(rows, schema=shards.RECORDS))
    files.close(whole=True)


def measure(record: Record) -> Measured:
    """Measured as ever, but for the thumbnail: noise that hangs on the picture."""
    found = quality.measure(record, IMAGE, TEXT)
    rng = np.random.default_rng(int(found.pixel_hash[:12], 16))
    contrast, sharpness, saturation = rng.random(3).tolist()
    return dataclasses.replace(
        found,
        thumbnail=rng.bytes(192),
        contrast=100 * contrast,
        sharpness=1000 * sharpness,
        saturation=100 * saturation,
    )


@contextlib.contextmanager
def watched(found: dict[str, Any]) -> Iterator[None]:
    """Peaks of memory of this process and those below it, sampled four times a second."""
    ended, peaks = threading.Event(), {"peak_memory_gb": 0.0, "peak_mapped_gb": 0.0}

    def sample() -> None:
        own = psutil.Process()
        while not ended.wait(0.25):
            anonymous = resident = 0
            for process in (own, *own.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
                    sizes = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.endswith("kB")}
                    anonymous += int(sizes.get("RssAnon", 0))
                    resident += int(sizes.get("VmRSS", 0))
            peaks["peak_memory_gb"] = max(peaks["peak_memory_gb"], anonymous / 1e6)
            peaks["peak_mapped_gb"] = max(peaks["peak_mapped_gb"], resident / 1e6)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    start, busy = time.monotonic(), processor_seconds()
    try:
        yield
    finally:
        found["wall_s"] = round(time.monotonic() - start, 1)
        found["processor_s"] = round(processor_seconds() - busy, 1)
        ended.set()
        thread.join()
        found.update({name: round(value, 3) for name, value in peaks.items()})


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def stages(folder: Path) -> dict[str, float]:
    """Everything between ingested shards and prepared ones; processor seconds of each step."""
    ingested, made, out = folder / "ingested", folder / "validated", folder / "prepared"
    took: dict[str, float] = {}

    @contextlib.contextmanager
    def step(name: str) -> Iterator[None]:
        before = processor_seconds()
        yield
        took[name] = round(processor_seconds() - before, 1)

    contents = validated.Contents()
    with step("measure"):
        judged.write_measures(made, ordered_map(measure, contents.watch(shards.read_records(ingested))))
    measures = judged.Measures(made)
    with step("judge"):
        findings = cleaning.judge(measures, CLEAN)
        judged.write_findings(made, findings)
    with step("expect"):
        found = validated.verdicts(findings)
        laid = frames(measures, found, contents)
        profile.profile(laid, contents)
        outcomes = expectations.check(laid, parse(ValidateParams, THRESHOLDS, "validation"))
        assert not expectations.failures(outcomes, "critical"), expectations.table(outcomes)
        del laid
    with step("split and write"):
        run = partial(preparation.run, seed=1, image=IMAGE, text=TEXT, engine=local.Engine())
        run(ingested, made, out, split=SplitParams(train=0.8, validation=0.1, test=0.1))
    return took


def one(count: int) -> dict[str, Any]:
    """The work on ``count`` records, in this process and those that it starts."""
    found: dict[str, Any] = {"records": count}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for made in ("ingested", "validated", "prepared"):
            (folder / made).mkdir()
        subprocess.run([sys.executable, __file__, "--ingest", str(count), str(folder / "ingested")], check=True)
        with watched(found):
            found["steps"] = stages(folder)
        summary = json.loads((folder / "prepared" / "summary.json").read_text(encoding="utf-8"))
        found["prepared"] = sum(split["records"] for split in summary["splits"].values())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ingest", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ingest:
        return ingest(Path(arguments.ingest[1]), int(arguments.ingest[0]))
    if arguments.one:
        print(json.dumps(one(arguments.one)))
        return None
    path = harness.RESULTS / "records.json"
    earlier = json.loads(path.read_text(encoding="utf-8"))["samples"] if path.is_file() else []
    samples = {each["records"]: each for each in earlier}
    for size in arguments.sizes:  # a process each: what one leaves in memory is not the next one's
        done = subprocess.run([sys.executable, __file__, "--one", str(size)], stdout=subprocess.PIPE, check=True)
        samples[size] = json.loads(done.stdout.splitlines()[-1])
        print(json.dumps(samples[size]), file=sys.stderr, flush=True)
    ordered = [samples[size] for size in sorted(samples)]
    found: dict[str, Any] = {"samples": ordered}
    if len(ordered) > 2:
        counts, times = (np.array([each[name] for each in ordered], float) for name in ("records", "processor_s"))
        found["linear_fit"] = round(float(np.corrcoef(counts, times)[0, 1] ** 2), 5)
    for name in ("peak_memory_gb", "peak_mapped_gb"):
        found[name] = {str(each["records"]): each[name] for each in ordered}
    first, last = ordered[0], ordered[-1]
    if len(ordered) > 1:
        grown = (last["peak_memory_gb"] - first["peak_memory_gb"]) * 1e9
        found["memory_bytes_per_record"] = round(grown / (last["records"] - first["records"]))
    harness.write("records", found)
    return None


if __name__ == "__main__":
    main()
