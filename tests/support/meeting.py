"""Adds up over all processes who is there, and imports little: ``python -m support.meeting FILE``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from vlp.models.distributed import rank, world
from vlp.training.launch import is_first, join

if __name__ == "__main__":
    join()
    total = torch.tensor([float(rank() + 1)])
    dist.all_reduce(total)
    if is_first():
        Path(sys.argv[1]).write_text(json.dumps({"world": world(), "total": float(total)}), encoding="utf-8")
