"""New raw data: what lies in the watched folder, and how it comes into a run.

The folder may hold files and folders, and ``.dvc`` files of imports. It is read and never written: who puts data there
owns it. In a run's worktree each entry is put under DVC, so that the commit of the results names the very data.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from flows import commands, processes
from flows.worktree import Worktree, environment

SEEN = Path("runs") / "retrain.json"
EMPTY = hashlib.sha256().hexdigest()
"""The fingerprint of a folder without data."""
_KEPT = (".gitkeep", ".gitignore")


class ArrivingError(RuntimeError):
    """Files changed while they were read: somebody is still copying."""


def fingerprint(folder: Path) -> str:
    """Names, sizes and times of all files in ``folder``: cheap, and another one whenever a file was written."""
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in _KEPT:
            found = path.stat()
            lines.append(f"{path.relative_to(folder).as_posix()} {found.st_size} {found.st_mtime_ns}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def bring(tree: Worktree, incoming: str, update_imports: bool) -> str:
    """Put what the project's folder holds into the worktree, under DVC.

    Args:
        tree: the run's worktree.
        incoming: the folder, below the project.
        update_imports: fetch the newest version of what was imported (``dvc import``, ``dvc import-url``).

    Returns:
        A hash of the data's content.

    Raises:
        ArrivingError: the folder changed meanwhile.
    """
    source, target = tree.project / incoming, tree.folder / incoming
    before = fingerprint(source)
    target.mkdir(parents=True, exist_ok=True)
    entries = [path for path in sorted(source.iterdir()) if path.name not in _KEPT]
    tracked = {path.name.removesuffix(".dvc") for path in entries if path.suffix == ".dvc"}
    for path in entries:
        if path.suffix == ".dvc":
            shutil.copy(path, target / path.name)
    own = environment(tree.folder)
    imports = [path for path in target.glob("*.dvc") if _is_import(path)]
    if imports and update_imports:
        commands.run(["dvc", "update", *(str(path) for path in imports)], tree.folder, environment=own)
    imported = {path.name.removesuffix(".dvc") for path in imports}
    added = [path for path in entries if path.suffix != ".dvc" and path.name not in imported]
    for path in added:
        _replace(path, target / path.name)
    # An entry that was taken away must not come back from the commit.
    for gone in target.glob("*.dvc"):
        name = gone.name.removesuffix(".dvc")
        if not _is_import(gone) and name not in {path.name for path in added} | tracked:
            gone.unlink()
            _remove(target / name)
    if fingerprint(source) != before:
        raise ArrivingError(f"{source}: changed while it was read; the next run will take it")
    if added:
        names = [str(Path(incoming) / path.name) for path in added]
        commands.run(["dvc", "add", "--quiet", *names], tree.folder, environment=own)
    return content(target)


def content(folder: Path) -> str:
    """A hash of the content of the data that the ``.dvc`` files of ``folder`` name."""
    texts = [f"{path.name}\n{path.read_text(encoding='utf-8')}" for path in sorted(folder.glob("*.dvc"))]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def seen(project: Path) -> dict[str, str]:
    """The data of the last run that came to a conclusion: ``fingerprint``, ``content``, ``outcome``."""
    try:
        found: dict[str, str] = json.loads((project / SEEN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def tried(project: Path, fingerprint: str) -> int:
    """One more run with these data has ended without a conclusion; how many have."""
    known = seen(project)
    count = int(known.get("tries", 0)) + 1 if known.get("tried") == fingerprint else 1
    processes.write_json(project / SEEN, {**known, "tried": fingerprint, "tries": str(count)})
    return count


def remember(project: Path, fingerprint: str, content: str, outcome: str) -> None:
    """The run with these data has come to a conclusion."""
    processes.write_json(project / SEEN, {"fingerprint": fingerprint, "content": content, "outcome": outcome})


def _is_import(path: Path) -> bool:
    """Whether a ``.dvc`` file names an origin (its ``deps``) and not only content."""
    return any(line.startswith("deps:") for line in path.read_text(encoding="utf-8").splitlines())


def _replace(source: Path, target: Path) -> None:
    """A copy, never a link: DVC makes what it tracks read-only."""
    _remove(target)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
