"""What cleaning finds and what it must not lose, on real pictures and on injected faults.

    python benchmarks/cleaning.py ../shared/data/noto-emoji      # after: dvc repro validate

* `injected`: of the faults that the source scenes injected (`data/injected_faults.jsonl`), those that `validate`
  found under their own name (`recall`), and the clean records that lost anything (`false_rejects`).
* `colour_only`: groups of emoji with one outline and one grey-scale difference hash that differ in colour: hearts,
  squares, circles, flags of one pattern. A grey-scale duplicate hash keeps one of each; `lost` counts what is rejected
  here, with near duplicates rejected, though nothing of its colour is kept of its group.
* `impossible`: files of the same bytes under two names. Both names cannot be told from the picture; each is reported.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from benchmarks import harness
from vlp.data import cleaning
from vlp.data.parallel import ordered_map
from vlp.data.quality import measure_all
from vlp.data.sources import manifest
from vlp.params import parse
from vlp.preprocessing.image import ImageParams
from vlp.preprocessing.text import TextParams

COLUMNS = {"file": "pairs.jsonl", "image": "image", "captions": ["caption"], "group": "group"}


def grey_look(path: Path) -> tuple[bytes, bytes]:
    """Outline at 32×32, and the difference hash (9×8) of the luma."""
    with Image.open(path) as opened:
        image = opened.convert("RGBA")
    outline = np.asarray(image.getchannel("A").resize((32, 32))) >= 128
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    luma = np.asarray(white.convert("L").resize((9, 8)), np.int16)
    return np.packbits(outline).tobytes(), np.packbits(luma[:, 1:] > luma[:, :-1]).tobytes()


def emoji(root: Path) -> dict[str, Any]:
    records = list(manifest.read(root, parse(manifest.Params, COLUMNS, "manifest"), 7))
    image, text = ImageParams(size=64), TextParams(max_words=40, max_tokens=32, vocabulary=2000)
    measures = list(measure_all(records, image, text))
    findings = cleaning.judge(measures, cleaning.CleanParams(colour_matters=False))
    alike: defaultdict[tuple[bytes, bytes], list[int]] = defaultdict(list)
    for row, look in enumerate(ordered_map(grey_look, [root / record.id for record in records])):
        alike[look].append(row)
    groups: list[dict[str, np.ndarray]] = []
    for rows in alike.values():
        colours = {
            records[row].id: np.frombuffer(measures[row].thumbnail, np.uint8).reshape(-1, 3).mean(axis=0)
            for row in rows
        }
        if any(_apart(one, two) for one in colours.values() for two in colours.values()):
            groups.append(colours)
    gone = {finding.record: finding.reason for finding in findings if finding.action == "rejected"}
    lost = [
        name
        for group in groups
        for name in group
        if gone.get(name) == "near_duplicate"
        and all(_apart(group[name], colour) for other, colour in group.items() if other not in gone)
    ]
    return {
        "records": len(records),
        "colour_only": {"groups": len(groups), "members": sum(map(len, groups)), "lost": len(lost), "which": lost},
        "impossible": {
            "reported": sum(finding.reason == "conflicting_captions" for finding in findings),
            "which": sorted(finding.record for finding in findings if finding.reason == "conflicting_captions"),
        },
        "rejected": len(gone),
    }


def _apart(one: np.ndarray, two: np.ndarray) -> bool:
    """Apart in colour: 12 levels of 255 and more between mean colours, which is beyond any encoding."""
    return bool(np.abs(one - two).max() >= 12)


def injected(data: Path) -> dict[str, Any]:
    def lines(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (data / name).read_text(encoding="utf-8").splitlines()]

    told = {(row["record"], row["field"], row["reason"]) for row in lines("validated/findings.jsonl")}
    faults = lines("injected_faults.jsonl")
    dirty = {row["record"] for row in faults}
    hurt = {
        row["record"]
        for row in lines("validated/findings.jsonl")
        if row["action"] in ("rejected", "dropped") and row["record"] not in dirty
    }
    found = sum((row["record"], row["field"], row["fault"]) in told for row in faults)
    return {"faults": len(faults), "recall": found / len(faults), "false_rejects": len(hurt)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("emoji", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    harness.write("cleaning", {"injected": injected(arguments.data), "emoji": emoji(arguments.emoji)})


if __name__ == "__main__":
    main()
