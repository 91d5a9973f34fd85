"""A preset on real data, from raw files to bundle: what it reaches beside its floors, and how long it takes.

    python benchmarks/real_input.py easy-vqa /path/to/easy-vqa

The run is that of ``make repro PRESET=… ROOT=…``, in ``runs/<preset>``. What an earlier run has left there is not made
again, and then the time of the whole is not known: ``seconds`` is null. Writes ``benchmarks/results/<preset>.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import harness
from vlp import presets

KEPT_SLICES = {"accuracy_by_type"}


def main() -> None:
    """Run the preset and keep its figures."""
    parser = argparse.ArgumentParser(description="Run a preset on real data and keep what it reaches.")
    parser.add_argument("preset", help="a file of presets/, without .yaml")
    parser.add_argument("root", type=Path, help="the folder of raw files")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY.PATH=VALUE")
    arguments = parser.parse_args()
    lock = harness.ROOT / "runs" / arguments.preset / "dvc.lock"
    fresh = not lock.exists()
    began = time.perf_counter()
    worktree = presets.run(harness.ROOT, arguments.preset, arguments.root, arguments.settings, ())
    seconds = round(time.perf_counter() - began) if fresh else None
    found = {path.stem: brief(json.loads(path.read_text("utf-8"))) for path in _metrics(worktree)}
    harness.write(arguments.preset, {"seconds": seconds, "metrics": found})


def brief(figures: dict[str, Any]) -> dict[str, Any]:
    """``figures`` without their slices."""
    return {
        name: brief(value) if isinstance(value, dict) else value
        for name, value in figures.items()
        if name in KEPT_SLICES
        or "nearest_by_colour" in name
        or not (name.startswith("by_") or "_by_" in name or name == "folds")
    }


def _metrics(worktree: Path) -> list[Path]:
    return sorted((worktree / "metrics").glob("*.json"))


if __name__ == "__main__":
    main()
