"""What a bundle was made of: by content inside the pipeline, by commit when it leaves.

See docs/decisions/0003-lineage.md for why these are two steps.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from vlp.runtime.bundle import BundleError, sha256

LIBRARIES = ("onnx", "onnxscript", "tokenizers", "torch", "torchvision", "transformers")
"""What decides the bytes of a bundle, besides the code."""
LOCK = "dvc.lock"


def of_content(prepared: Path, models: Iterable[Path]) -> dict[str, Any]:
    """SHA-256 of the prepared data and of each trained task, and the libraries' versions."""
    return {
        "data": hash_folder(prepared),
        "models": {model.name: hash_folder(model) for model in models},
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def hash_folder(folder: Path) -> str:
    """One SHA-256 of the names and contents of all files below ``folder``.

    Raises:
        BundleError: there is no such folder, or nothing in it.
    """
    lines = [
        f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    if not lines:
        raise BundleError(f"{folder}: missing or empty; run the stage that writes it first")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def committed(project: Path, folder: Path) -> dict[str, str]:
    """The commit whose ``dvc.lock`` lists exactly the bytes of ``folder``.

    Args:
        project: a git repository with the pipeline in it.
        folder: the export stage's out.

    Returns:
        ``commit``, and ``dvc_lock``: the SHA-256 of ``dvc.lock`` at that commit.

    Raises:
        BundleError: there is no commit or no ``dvc.lock`` in it, or it lists other bytes.
    """
    commit = _git(project, "rev-parse", "HEAD").decode().strip()
    lock = _git(project, "show", f"HEAD:{LOCK}")
    listed = {
        out["md5"]
        for stage in (YAML(typ="safe", pure=True).load(lock.decode()).get("stages") or {}).values()
        for out in stage.get("outs", ())
        if out.get("md5")
    }
    if dvc_hash(folder) not in listed:
        raise BundleError(
            f"{folder}: not what {LOCK} of commit {commit[:12]} describes; run `dvc repro` and commit {LOCK}, "
            "or `dvc checkout`, then seal again"
        )
    return {"commit": commit, "dvc_lock": hashlib.sha256(lock).hexdigest()}


def dvc_hash(folder: Path) -> str:
    """The hash by which DVC 3 knows a folder: MD5 of the sorted list of its files and their MD5.

    Source: ``Tree.as_bytes`` of https://github.com/iterative/dvc-data; MD5 is DVC's choice, an identity
    here and no protection.
    """
    entries = []
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, _md5).hexdigest()
            entries.append({"md5": digest, "relpath": path.relative_to(folder).as_posix()})
    entries.sort(key=lambda entry: entry["relpath"])
    return f"{_md5(json.dumps(entries, sort_keys=True).encode()).hexdigest()}.dir"


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def _git(project: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(project), *arguments], capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise BundleError(f"{project}: git {' '.join(arguments)} failed ({reason[-1] if reason else 'no message'})")
    return done.stdout
