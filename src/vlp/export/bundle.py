"""A bundle's plain files, written last: parameters, tokenizer, metrics, lineage, and the table of them all.

``vlp.runtime.bundle`` says what each file is, and reads them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp.export import lineage
from vlp.files import atomic
from vlp.runtime import bundle as layout
from vlp.runtime.bundle import BundleError


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What a bundle is made of, besides the graphs.

    ``tasks``: each task's entry of ``bundle.json``, as ``vlp.export.onnx.write_task`` returns it.
    ``tokenizer``: the ``tokenizer.json`` of the prepared data. ``params``: resolved, by section.
    ``metrics``: each task's metrics file. ``lineage``: what it was made of.
    """

    tasks: Mapping[str, dict[str, Any]]
    tokenizer: Path
    params: Mapping[str, Any]
    metrics: Mapping[str, Path]
    lineage: Mapping[str, Any]


def write(folder: Path, contents: Contents) -> None:
    """Complete ``folder``, which holds the graphs already, to a bundle.

    Raises:
        BundleError: the tokenizer or a metrics file is missing or not readable.
    """
    if not contents.tokenizer.is_file():
        raise BundleError(f"{contents.tokenizer}: missing; run the preprocess stage first")
    (folder / layout.TOKENIZER).parent.mkdir()
    shutil.copyfile(contents.tokenizer, folder / layout.TOKENIZER)
    _dump(folder / layout.PARAMS, contents.params)
    _dump(folder / layout.METRICS, {name: _load(path) for name, path in contents.metrics.items()})
    _dump(folder / layout.LINEAGE, {**contents.lineage, "params": layout.sha256(folder / layout.PARAMS)})
    _dump(folder / layout.MANIFEST, {"format": layout.FORMAT, "tasks": contents.tasks, "files": _table(folder)})


def seal(folder: Path, target: Path, project: Path) -> None:
    """Copy the bundle out of the pipeline to ``target``, its lineage completed by commit and ``dvc.lock``.

    These cannot stand in the pipeline's own out: ``dvc.lock`` holds that out's hash, and the commit holds
    ``dvc.lock``. They are added only where they are true, that is where the ``dvc.lock`` of the commit lists
    exactly these bytes.

    Args:
        folder: the export stage's out, as it stands or as ``dvc pull`` fetched it.
        target: a folder that becomes the sealed bundle.
        project: the git repository that made it.

    Raises:
        BundleError: the bundle is damaged; or the commit's ``dvc.lock`` describes another one.
    """
    layout.read(folder)
    sources = lineage.committed(project, folder)
    with atomic(target, folder=True) as partial:
        shutil.copytree(folder, partial, dirs_exist_ok=True, symlinks=False)
        known = _load(folder / layout.LINEAGE)
        (partial / layout.LINEAGE).unlink()  # the copy may carry the cache's read-only mode
        _dump(partial / layout.LINEAGE, {**known, **sources})
        manifest = _load(folder / layout.MANIFEST)
        (partial / layout.MANIFEST).unlink()
        _dump(partial / layout.MANIFEST, {**manifest, "files": _table(partial)})


def _table(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file but the table's own, by path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / layout.MANIFEST)
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": layout.sha256(path)}
        for path in paths
    }


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path}: missing; run the stage that writes it first") from None
    except json.JSONDecodeError as error:
        raise BundleError(f"{path}: not valid JSON ({error})") from None


def _dump(path: Path, value: Any) -> None:
    # Not files.write_json, which rounds: a learning rate of 1e-7 must stay one.
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
