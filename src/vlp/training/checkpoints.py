"""Checkpoints that a killed run goes on from: whole or absent, verified when read, few, and never those of another run.

They lie in ``checkpoints/<name>/<fingerprint>``, which DVC neither tracks nor removes (``VLP_CHECKPOINTS`` names
another place, such as a disk that outlives the machine). The fingerprint is a hash of everything that the run
follows from: parameters, data, code, torch's version, the weights that it starts from, how many processes. A run
whose fingerprint differs starts afresh and removes what lies under another; a finished one removes its own.

A checkpoint is a folder of safetensors files and ``state.json``, which holds the SHA-256 of each and of itself. It is
written under a temporary name and renamed; one that does not verify is passed over for the one before it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vlp.files import atomic
from vlp.models.weights import write_tensors
from vlp.params import Section

ROOT = "VLP_CHECKPOINTS"
_LEFT_ALONE_S = 7 * 24 * 3600
KEPT = 2
HASHED_WHOLE = 4 * 2**30
_STEP = re.compile(r"step-(\d+)-(\d+)")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was read: tensors by file, and the plain values beside them."""

    tensors: dict[str, dict[str, Tensor]]
    values: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: this run's own, ``<root>/<name>/<fingerprint>``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, name: str, fingerprint: str, root: Path | None = None) -> Checkpoints:
        """Those of the run ``name`` with that fingerprint. What other runs of this name left is removed; in a place
        that ``VLP_CHECKPOINTS`` names, which other projects, folds and trials may share, once it is a week old.
        """
        shared = os.environ.get(ROOT) if root is None else None
        base = (root or Path(shared or "checkpoints")) / name
        for other in base.glob("*"):
            if other.name != fingerprint and not (shared and time.time() - other.stat().st_mtime < _LEFT_ALONE_S):
                log.info("%s: of other parameters, data or code: removed", other)
                shutil.rmtree(other, ignore_errors=True)
        return cls(base / fingerprint)

    def save(self, phase: int, step: int, tensors: Mapping[str, Mapping[str, Tensor]], values: dict[str, Any]) -> None:
        """Write one and remove all but the newest ``KEPT``.

        Args:
            phase: of the run, from 0.
            step: of the phase: how many are done.
            tensors: by file, then by name.
            values: JSON.

        Raises:
            OSError: it cannot be written; those before it stay.
        """
        with atomic(self.folder / f"step-{phase:03d}-{step:09d}", folder=True) as partial:
            for name, group in tensors.items():
                write_tensors(partial / f"{name}.safetensors", group)
            digests = {f"{name}.safetensors": _digest(partial / f"{name}.safetensors") for name in tensors}
            state = {"files": digests, "values": values}
            (partial / "state.json").write_text(json.dumps({"state": state, "sha256": _of(state)}), encoding="utf-8")
            for path in (*partial.iterdir(), partial):
                _to_disk(path)
        for old in self._found()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def _found(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if _STEP.fullmatch(path.name))

    def latest(self) -> Checkpoint | None:
        """The newest that verifies; None where there is none."""
        for path in reversed(self._found()):
            try:
                return _read(path)
            except (OSError, ValueError, KeyError) as error:
                log.warning("%s: passed over (%s)", path, error)
        return None

    def remove(self) -> None:
        """The run has finished: all of them go, with the folders that are then empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for parent in (self.folder.parent, self.folder.parent.parent):
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def _read(path: Path) -> Checkpoint:
    about = json.loads((path / "state.json").read_text(encoding="utf-8"))
    state = about["state"]
    if _of(state) != about["sha256"]:
        raise ValueError("state.json is damaged")
    for name, digest in state["files"].items():
        if _digest(path / name) != digest:
            raise ValueError(f"{name} is damaged")
    tensors = {name.removesuffix(".safetensors"): load_file(path / name) for name in state["files"]}
    return Checkpoint(tensors=tensors, values=state["values"])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of(state: Any) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _to_disk(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def fingerprint(module: nn.Module, params: Iterable[Any], data: Path, world: int) -> str:
    """A hash of everything that a run's weights follow from.

    Args:
        module: what will be trained, as it is before the first step: its weights, and which of them are frozen.
        params: the sections that the run reads.
        data: the folder of prepared shards.
        world: how many processes share the batches.
    """
    whole = hashlib.sha256(f"{torch.__version__} {world} {torch.cuda.is_available()}".encode())
    for section in params:
        whole.update(section.model_dump_json().encode() if isinstance(section, Section) else repr(section).encode())
    for name, module_ in sorted(sys.modules.items()):
        if name.split(".")[0] == "vlp" and (file := getattr(module_, "__file__", None)):
            whole.update(name.encode() + Path(file).read_bytes())
    files = sorted(path for path in data.rglob("*") if path.is_file())
    small = sum(path.stat().st_size for path in files) <= HASHED_WHOLE
    for path in files:
        about = path.stat()
        whole.update(f"{path.relative_to(data)} {about.st_size}".encode())
        # Terabytes are told apart by when they were written.
        whole.update((_digest(path) if small else str(about.st_mtime_ns)).encode())
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        whole.update(f"{name} {tuple(tensor.shape)} {tensor.requires_grad}".encode())
        whole.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()[:32]
