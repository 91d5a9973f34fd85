"""What a bundle holds, and reading one: plain files, checked against their recorded size and SHA-256.

::

    bundle.json                format, tasks (decision, graphs, their inputs and outputs, weights), file table
    <task>/<part>.onnx         one graph; an image input is uint8 [B, S, S, 3]
    <task>/<part>.npz          where the graph is of eight bits: what 32 gave for made-up input (``Part.exact``)
    tokenizer/tokenizer.json   the tokenizer of the training data
    params.json                the resolved parameters; ``image`` and ``text`` govern preprocessing
    metrics.json               what the tasks measured on their test split
    lineage.json               what it was made of

Nothing in it is executable.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

FORMAT = 1
MANIFEST = "bundle.json"
PARAMS = "params.json"
TOKENIZER = "tokenizer/tokenizer.json"
METRICS = "metrics.json"
LINEAGE = "lineage.json"


class BundleError(ValueError):
    """A bundle is missing, incomplete, damaged, or of a format that this version does not read."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph: its name, its NumPy type and its shape, dynamic axes by name."""

    name: str
    type: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One graph of a task."""

    file: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    exact: str | None = None
    """A file of outputs of the graph in 32 bits, of which this one is the copy in eight, for ``choice.made_up``."""


@dataclass(frozen=True, slots=True)
class BundledTask:
    """What was decided on the validation split (thresholds, labels) and the task's graphs, by name."""

    decision: dict[str, Any]
    parts: dict[str, Part]
    weights: str = "float32"
    """What its convolutions and products are computed in: ``float32``, or ``int8`` where the metric stood that."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that has been read; ``graph`` and ``tokenizer`` bytes are read when they are wanted."""

    folder: Path
    tasks: dict[str, BundledTask]
    files: dict[str, dict[str, Any]]
    params: dict[str, Any]

    @cached_property
    def name(self) -> str:
        """Names the bundle by what it answers with: 12 digits of the SHA-256 of its table of contents.

        The lineage is left out of that table: sealing completes it, and the bundle stays the one that the drift
        reference was made with.
        """
        files = {file: entry for file, entry in self.files.items() if file != LINEAGE}
        contents = {**_json(self.folder / MANIFEST), "files": files}
        return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def embedder(self) -> str:
        """What makes vectors comparable: the hash of the graph that embeds images; empty without retrieval."""
        task = self.tasks.get("retrieval")
        return "" if task is None else str(self.files[task.parts["image"].file]["sha256"])

    def path(self, file: str) -> Path:
        """The path of a file of the table."""
        return self.folder / file


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(folder: Path, *, verify: bool = True) -> Bundle:
    """Read and check the bundle in ``folder``.

    Args:
        folder: what the export stage wrote.
        verify: hash every file (about a second a gigabyte); without, only presence and size are checked.

    Raises:
        BundleError: naming the file that is missing, damaged or not understood.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder; export a bundle first")
    manifest = _json(folder / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise BundleError(
            f"{folder / MANIFEST}: format {manifest.get('format')!r}, this version reads {FORMAT}; export again"
        )
    try:
        tasks = {name: _task(entry) for name, entry in manifest["tasks"].items()}
        files: dict[str, dict[str, Any]] = manifest["files"]
        for name, entry in files.items():
            _check_file(folder, name, entry["bytes"], entry["sha256"] if verify else None)
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{folder / MANIFEST}: not a bundle's table of contents ({error!r})") from None
    parts = [part for task in tasks.values() for part in task.parts.values()]
    wanted = [PARAMS, TOKENIZER, *(file for part in parts for file in (part.file, part.exact) if file is not None)]
    for name in wanted:
        if name not in files:
            raise BundleError(f"{folder / MANIFEST}: {name} is not in its table of files")
    return Bundle(folder=folder, tasks=tasks, files=files, params=_json(folder / PARAMS))


def _check_file(folder: Path, name: str, size: int, digest: str | None) -> None:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise BundleError(f"{folder / MANIFEST}: {name} lies outside the bundle")
    path = folder / name
    if not path.is_file():
        raise BundleError(f"{path}: missing from the bundle; fetch or export it again")
    if path.stat().st_size != size:
        raise BundleError(f"{path}: {path.stat().st_size} bytes, {size} expected; fetch or export the bundle again")
    if digest is not None and sha256(path) != digest:
        raise BundleError(f"{path}: damaged (its SHA-256 is not the recorded one); fetch or export the bundle again")


def _task(entry: dict[str, Any]) -> BundledTask:
    parts = {
        name: Part(
            file=part["file"],
            inputs=_ports(part["inputs"]),
            outputs=_ports(part["outputs"]),
            exact=part.get("exact"),
        )
        for name, part in entry["parts"].items()
    }
    return BundledTask(decision=dict(entry["decision"]), parts=parts, weights=entry.get("weights", "float32"))


def _ports(entries: list[dict[str, Any]]) -> tuple[Port, ...]:
    return tuple(Port(name=entry["name"], type=entry["type"], shape=tuple(entry["shape"])) for entry in entries)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path}: missing from the bundle; fetch or export it again") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise BundleError(f"{path}: expected an object, found {type(value).__name__}")
    return value
