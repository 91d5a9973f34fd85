"""A folder that a killed stage goes on with at its last finished shard, as long as nothing that made it has changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import vlp

KEY_FILE = ".made-by"
_DECIDING = ("cykooz-resizer", "numpy", "pillow", "pyarrow", "tokenizers")
"""Libraries whose version can change what a stage writes."""


@contextmanager
def resumable(path: Path, key: str) -> Iterator[Path]:
    """Yield a hidden folder beside ``path`` which becomes ``path`` on success.

    Unlike that of ``files.atomic`` it outlives a failure or a kill if it holds a finished shard, and is yielded
    again, with what it holds, to a run with the same ``key``. What was made with another key is removed. At every
    instant, the last ones included, a kill leaves what the next run can finish: the marker, which says that the
    folder can be gone on with, is the last thing to go before the folder gets its name, and the first to go where
    the folder is removed.

    Args:
        path: the final folder; its parents are made.
        key: of ``fingerprint``: all that decides what the shards hold.
    """
    partial, marker = (path.with_name(f".{path.name}.partial") / name for name in ("", KEY_FILE))
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (marker.is_file() and marker.read_text(encoding="utf-8") == key):
        _remove(partial)
        partial.mkdir()
        marker.write_text(key, encoding="utf-8")
    try:
        yield partial
    except BaseException:
        if not any(partial.glob("*.arrow")):
            _remove(partial)
        raise
    for left in partial.glob("*.arrow.partial"):
        left.unlink()
    if path.exists():
        shutil.rmtree(path)
    marker.unlink()
    os.replace(partial, path)


def _remove(partial: Path) -> None:
    """Remove an unfinished folder, its marker first: half of its shards must not be taken for the first ones."""
    (partial / KEY_FILE).unlink(missing_ok=True)
    shutil.rmtree(partial, ignore_errors=True)


def fingerprint(*inputs: Any, folders: tuple[Path, ...] = ()) -> str:
    """One hash of parameters, of this package's code, of deciding libraries, and of what lies in ``folders``.

    Args:
        inputs: values that JSON can hold, or pydantic models.
        folders: their files count by path, size and time of change; contents are not read.
    """
    code = hashlib.sha256()
    package = Path(vlp.__file__).parent
    for file in sorted(package.rglob("*.py")):
        code.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes())
    whole = {
        "inputs": [each.model_dump(mode="json") if hasattr(each, "model_dump") else each for each in inputs],
        "code": code.hexdigest(),
        "libraries": {name: metadata.version(name) for name in _DECIDING},
        "folders": [_listing(folder) for folder in folders],
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def _listing(folder: Path) -> str:
    listed = hashlib.sha256()
    for place, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not name.endswith(".partial"))  # such as our own
        for name in sorted(files):
            stat = os.lstat(os.path.join(place, name))  # noqa: PTH118  # a million Path objects take seconds
            listed.update(f"{place}\0{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return listed.hexdigest()
