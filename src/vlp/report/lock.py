"""``dvc.lock`` and ``.dvc`` files as what they say of data, and the files behind them, found in DVC's cache by hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vlp.commands import output
from vlp.params import read
from vlp.report.revisions import Revision

LOCK = "dvc.lock"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder that DVC tracks."""

    md5: str
    """Ends in ``.dir`` for a folder."""
    size: int
    """Bytes."""
    files: int


@dataclass(frozen=True, slots=True)
class Lock:
    """What one commit records."""

    outs: dict[str, Entry]
    """What stages made, by path."""
    inputs: dict[str, Entry]
    """Raw data: what ``.dvc`` files track, and what stages read that no stage makes and git does not hold whole."""
    stages: dict[str, Any]
    """The lock of each stage as it is."""

    @classmethod
    def of(cls, revision: Revision) -> Lock:
        """Read the lock and the ``.dvc`` files of ``revision``."""
        tracked = output(revision.folder, "git", "ls-files", "-z").split("\0")
        stages = read(revision.folder / LOCK).get("stages") or {}
        outs = {out["path"]: _entry(out) for stage in stages.values() for out in stage.get("outs", ())}
        inputs = {
            (Path(name).parent / out["path"]).as_posix(): _entry(out)
            for name in tracked
            if name.endswith(".dvc")
            for out in read(revision.folder / name).get("outs") or ()
        }
        deps = {dep["path"]: _entry(dep) for stage in stages.values() for dep in stage.get("deps", ())}
        inputs |= {
            path: entry
            for path, entry in deps.items()
            if not _inside(path, outs | inputs)
            and not any(out.startswith(path + "/") for out in outs)
            and sum(name == path or name.startswith(path + "/") for name in tracked) < entry.files
        }
        return cls(outs, inputs, stages)


class Cache:
    """DVC's cache on this machine.

    Args:
        project: the root of the repository.
    """

    def __init__(self, project: Path) -> None:
        self._project = project

    @cached_property
    def _root(self) -> Path:
        return self._project / output(self._project, "dvc", "cache", "dir").strip() / "files" / "md5"

    def find(self, path: str, outs: Mapping[str, Entry]) -> Path | None:
        """The cached content of ``path``, an out or a file inside one; None where it is not in the cache."""
        if path in outs:
            return self._object(outs[path].md5)
        out = _inside(path, outs)
        return self.folder(out, outs).get(path.removeprefix(out + "/")) if out else None

    def folder(self, path: str, outs: Mapping[str, Entry]) -> dict[str, Path]:
        """The cached files of the folder ``path``, an out, by their names in it; empty where it is not in the cache."""
        listing = self._object(outs[path].md5) if path in outs else None
        if listing is None:
            return {}
        entries = json.loads(listing.read_text(encoding="utf-8"))
        found = {entry["relpath"]: self._object(entry["md5"]) for entry in entries}
        return {name: file for name, file in found.items() if file is not None}

    def _object(self, md5: str) -> Path | None:
        found = self._root / md5[:2] / md5[2:]
        return found if found.is_file() else None


def content_of(path: str, lock: Lock, cache: Cache, revision: Revision) -> Path | str:
    """``path`` as ``revision`` has it, from git or from the cache; else the reason why it cannot be had."""
    committed = revision.folder / path
    if committed.is_file():
        return committed
    if _inside(path, lock.outs) is None:
        return "no such file"
    return cache.find(path, lock.outs) or "not in DVC's cache here"


def _inside(path: str, outs: Mapping[str, Entry]) -> str | None:
    """The out that ``path`` is, or lies in."""
    parents = [path, *(parent.as_posix() for parent in Path(path).parents)]
    return next((parent for parent in parents if parent in outs), None)


def _entry(entry: Mapping[str, Any]) -> Entry:
    return Entry(str(entry.get("md5", "")), int(entry.get("size", 0)), int(entry.get("nfiles", 1)))
