"""Served requests as numbers drawn at random, with or without a shift."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from vlp.drift.settings import DriftParams
from vlp.runtime.served import Served

START = datetime(2026, 11, 23, 8, tzinfo=UTC)
LIMITS = DriftParams(records=500, window=100, level=0.01, effect=0.1, violated=2, last=3, trials=20)


def requests(
    count: int,
    seed: int,
    *,
    first: int = 0,
    reference: bool = False,
    darker: float = 0.0,
    longer: int = 0,
    **changes: Any,
) -> list[Served]:
    """``count`` requests, one a second; ``darker`` takes from every channel, ``longer`` adds words."""
    draw = np.random.default_rng(seed)
    found = []
    for place in range(first, first + count):
        light = draw.normal(0, 12)
        colour = np.clip(draw.normal((120, 110, 100), 8) + light - darker, 0, 255).tolist()
        words = int(draw.integers(4, 12)) + longer
        row = Served(
            request=f"r{place:06d}",
            text=0,
            at="" if reference else (START + timedelta(seconds=place)).isoformat(timespec="milliseconds"),
            bundle="b1",
            task="matching",
            red=colour[0],
            green=colour[1],
            blue=colour[2],
            contrast=float(draw.gamma(9, 4)),
            sharpness=float(draw.lognormal(5, 1)),
            saturation=float(draw.gamma(5, 8)),
            words=words,
            tokens=words + 2,
            unknown_share=float(draw.choice([0.0, 0.0, 0.0, 0.25])),
            score=float(draw.beta(0.5, 0.5)),
        )
        found.append(replace(row, **changes))
    return found


def write(path: Path, rows: Sequence[Served]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row.to_row()) + "\n" for row in rows), encoding="utf-8")
    return path
