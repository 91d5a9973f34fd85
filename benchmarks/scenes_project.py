"""The project itself, at the size of seconds, with scenes as files that arrive: what the retraining cycles run on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from vlp import overlays
from vlp.data.sources import scenes

OVERLAY = Path(__file__).with_name("cycles.yaml")
STEPS = ((4, 4, 4), (120, 130, 50), (300, 400, 150))
"""Of the phases look and read and of the fine-tuning, by how good the model is to be: of the first batch's held-out
edits 0.50, 0.58 and 0.69 are told from the truth. Fewer pictures, or 60 and 100 steps, stay at chance."""
BATCH = 40
"""Records that arrive in a cycle, after the first."""
FIRST = 1500
DRAWN = scenes.Params(
    records=10_000,
    image_size=64,
    captions=4,
    faults=0.0,
    jpeg=0.0,
    kinds=scenes.KindMix(attribute=1.0, relation=0.0, count=0.0, comparison=0.0, negation=0.0),
)


def make(source: Path, folder: Path, serving: dict[str, Any]) -> Path:
    """A clone of the last commit of ``source`` with parameters and settings for quick cycles, committed."""
    run(source, "git", "clone", "--quiet", str(source), str(folder))
    overlays.apply(OVERLAY, [], folder / "params.yaml")
    (folder / "dvc.lock").unlink(missing_ok=True)
    for path in sorted((folder / "metrics").rglob("*.json")):
        path.unlink()
    settings(
        folder,
        gate={"slice": None, "floor": 0.0, "max_gain": 0.5, "max_latency_ratio": 3.0, "max_text_only": None},
        retrain={"keep": 3},
        serving={"port": 0, "watch_s": 2, "keep": 2, **serving},
        cleanup={"keep_days": 1},
    )
    commit(folder, "A project of seconds")
    return folder


def settings(folder: Path, **sections: dict[str, Any]) -> None:
    """Change values of flows/config.yaml; ``floor`` is the gated metric's."""
    yaml, path = YAML(), folder / "flows" / "config.yaml"
    found = yaml.load(path)
    for section, values in sections.items():
        for name, value in values.items():
            (found[section]["metrics"][0] if name == "floor" else found[section])[name] = value
    yaml.dump(found, path)


def skill(folder: Path, level: int) -> None:
    """Commit parameters that train so much."""
    look, read, tune = STEPS[level]
    steps = [
        f"pretrain.phases.look.training.steps={look}",
        f"pretrain.phases.read.training.steps={read}",
        f"tasks.matching.training.steps={tune}",
    ]
    overlays.apply(None, steps, folder / "params.yaml")
    commit(folder, f"Train {sum(STEPS[level])} steps")


def deploys(folder: Path, serve: list[str]) -> None:
    """Commit the command that serves a version."""
    settings(folder, serving={"serve": serve})
    if run(folder, "git", "status", "--porcelain"):
        commit(folder, "Serve otherwise")


def arrive(folder: Path, batches: int, *, bad: bool = False) -> None:
    """Make ``data/incoming`` hold the first batch and so many more; the last one of damaged pictures, if bad."""
    incoming = folder / "data" / "incoming"
    (incoming / "images").mkdir(parents=True, exist_ok=True)
    rows, count = [], FIRST + BATCH * batches
    for index in range(count):
        record = scenes.record(index, params=DRAWN, seed=1)
        path = incoming / "images" / f"{index:05d}.png"
        damaged = bad and index >= count - BATCH
        content = record.image[: len(record.image) // 3] if damaged else record.image
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
        rows.append(
            {
                "image": f"images/{path.name}",
                "captions": [caption.text for caption in record.captions],
                "negatives": [caption.negative for caption in record.captions],
                "labels": list(record.labels),
            }
        )
    for stray in sorted((incoming / "images").glob("*.png"))[count:]:
        stray.unlink()
    table = incoming / "pairs.jsonl"
    partial = table.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    partial.rename(table)


def commit(folder: Path, message: str) -> str:
    """Commit what is tracked and changed, if anything; the commit."""
    author = ("-c", "user.name=A Person", "-c", "user.email=person@example.org")
    run(folder, "git", *author, "commit", "--quiet", "--no-verify", "--all", "--allow-empty", "--message", message)
    return run(folder, "git", "rev-parse", "HEAD")


def run(folder: Path, *command: str) -> str:
    """What a command says on standard output."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return done.stdout.strip()
