"""New raw data: what lies in the watched folder, and how it comes into a run.

The folder may hold files and folders, and ``.dvc`` files of imports. It is read and never written: who puts data there
owns it. In a run's worktree each entry is put under DVC, so that the commit of the results names the very data.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.ignore import DvcIgnore
from dvc.repo import Repo

from flows import commands, processes, secrets
from flows.worktree import Worktree, environment, open_folders

SEEN = Path("runs") / "retrain.json"
EMPTY = hashlib.sha256().hexdigest()
"""The fingerprint of a folder without data."""
_KEPT = (".gitkeep", ".gitignore")
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""Of a link that leads nowhere, or of what went meanwhile."""


class ArrivingError(RuntimeError):
    """Files changed while they were read: somebody is still copying."""


class MissingDataError(ValueError):
    """A ``.dvc`` file of the folder names data that DVC's cache does not hold."""


class ReplacedImportError(ValueError):
    """Data lie where an import's are, and are not what was imported."""


class UncopiedError(ValueError):
    """Something in the folder cannot be copied: it may not be read, is no file, has no name for DVC, or is the copy."""


def fingerprint(folder: Path) -> str:
    """Names, sizes and times of all files in ``folder``: cheap, and another one whenever a file was written.

    What may not be read counts by its name and the reason: it is data all the same, and ``bring`` is to name it.
    """
    lines = []
    for path, found in _below(folder):
        name = path.relative_to(folder).as_posix()
        if isinstance(found, OSError):
            if found.errno not in _NOWHERE:
                lines.append(f"{name} {found.strerror}\n")
        elif stat.S_ISREG(found.st_mode) and path.name not in _KEPT:
            lines.append(f"{name} {found.st_size} {found.st_mtime_ns}\n")
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _below(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[tuple[Path, os.stat_result | OSError]]:
    """All that ``folder`` and the folders in it hold, but these themselves, links followed as a copy follows them.

    With each comes what the system says of it: an error where it may not be read, leads nowhere, or leads back into a
    folder that it is in (those are ``above``).
    """
    try:
        its = folder.stat()
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names sort faster than paths
    except OSError as error:
        yield folder, error
        return
    this = (its.st_dev, its.st_ino)
    if this in above:
        yield folder, OSError(errno.EINVAL, "a link to a folder that it is in", str(folder))
        return
    for path in (folder / name for name in names):
        try:
            found = path.stat()
        except OSError as error:
            yield path, error
            continue
        if stat.S_ISDIR(found.st_mode):
            yield from _below(path, (*above, this))
        else:
            yield path, found


def bring(
    tree: Worktree, incoming: str, update_imports: bool, on_left_out: Callable[[str], None] = lambda _: None
) -> str:
    """Put what the project's folder holds into the worktree, under DVC.

    Args:
        tree: the run's worktree.
        incoming: the folder, below the project.
        update_imports: fetch the newest version of what was imported (``dvc import``, ``dvc import-url``).
        on_left_out: told each entry that DVC would refuse, and why.

    Returns:
        A hash of the data's content.

    Raises:
        ArrivingError: the folder changed meanwhile.
        MissingDataError: of what a ``.dvc`` file names, the data cannot be had.
        ReplacedImportError: data were put in the place of an import whose ``.dvc`` file is still there.
        UncopiedError: something there cannot be copied.
    """
    source, target = tree.project / incoming, tree.folder / incoming
    _refuse_one_place(source, target)
    own = environment(tree.folder)
    target.mkdir(parents=True, exist_ok=True)
    with _lying_still(source):
        notes, data = _copied(tree, source, target, on_left_out)
    imports = [path for path in sorted(target.glob("*.dvc")) if _is_import(path)]
    if imports and update_imports:
        git_logins = secrets.of_git(os.environ)  # what is imported may be in a git repository
        commands.run(["dvc", "update", *map(str, imports)], tree.folder, environment=own | git_logins)
    # An entry that was taken away must not come back from the commit.
    for gone in target.glob("*.dvc"):
        name = gone.name.removesuffix(".dvc")
        if not _is_import(gone) and name not in data | notes:
            gone.unlink()
            _remove(target / name)
    if data:
        names = [str(Path(incoming) / name) for name in sorted(data)]
        commands.run(["dvc", "add", *names], tree.folder, environment=own)
    _check_out(tree, [path for path in sorted(target.glob("*.dvc")) if path.name.removesuffix(".dvc") not in data])
    return content(target)


def _refuse_one_place(source: Path, target: Path) -> None:
    """Each entry of ``target`` is removed before ``source``'s is copied: where one is the other, data would be lost.

    Raises:
        UncopiedError: one lies in the other, by a link that git holds, say.
    """
    real, copy = source.resolve(), target.resolve()
    if real.is_relative_to(copy) or copy.is_relative_to(real):
        raise UncopiedError(f"{source}: a run's copy of it would be {copy}, which is not apart from {real}")


@contextmanager
def _lying_still(folder: Path) -> Iterator[None]:
    """In the block, ``folder`` is read.

    Raises:
        ArrivingError: it is not as it was before, and what was read, or went wrong with it, is worth nothing.
        UncopiedError: it is, and something in it cannot be copied.
    """
    before = fingerprint(folder)
    failure: Exception | None = None
    try:
        yield
    except (OSError, DvcException, ReplacedImportError) as error:
        failure = error
    if fingerprint(folder) != before:
        raise ArrivingError(f"{folder}: changed while it was read; the next run will take it") from failure
    if isinstance(failure, OSError):
        raise UncopiedError(f"{folder}: cannot be copied: {_reason(failure)}; mend it, or take it away") from failure
    if failure is not None:
        raise failure


def _reason(error: OSError) -> str:
    """``copytree`` gathers what went wrong: source, target and reason of each; the first is enough to go by."""
    gathered = error.args[0] if isinstance(error, shutil.Error) and error.args else None
    return str(gathered[0][2] if isinstance(gathered, list) and gathered else error)


def _copied(
    tree: Worktree, source: Path, target: Path, on_left_out: Callable[[str], None]
) -> tuple[set[str], set[str]]:
    """Copy the ``.dvc`` files and the data of ``source``, but no import's, into ``target``: the names of both."""
    entries = [path for path in sorted(source.iterdir()) if path.name not in (*_KEPT, DvcIgnore.DVCIGNORE_FILE)]
    notes = {path.name.removesuffix(".dvc"): path for path in entries if path.suffix == ".dvc"}
    _bring_rules(source, target)
    data = _trackable(tree, target, [path for path in entries if path.suffix != ".dvc"], on_left_out)
    for note in target.glob("*.dvc"):
        # Once plain data lie in an import's place, the commit's note of the import is of the past.
        if note.name.removesuffix(".dvc") in data and _is_import(note):
            note.unlink()
    for each in notes.values():
        shutil.copy(each, target / each.name)
    for name in [name for name in data if name in notes and _is_import(target / f"{name}.dvc")]:
        _check_import(tree.project, notes[name], data.pop(name))
    for name, path in data.items():
        _replace(path, target / name)
    return set(notes), set(data)


def _check_out(tree: Worktree, notes: list[Path]) -> None:
    """The data of ``notes``, from DVC's cache; those that are there already are of the commit's notes."""
    if not notes:
        return
    names = [str(note.relative_to(tree.folder)) for note in notes]
    try:
        commands.run(["dvc", "checkout", "--force", *names], tree.folder, environment=environment(tree.folder))
    except commands.CommandError as error:
        if "Checkout failed" not in error.output:
            raise
        raise MissingDataError(
            f"data of {', '.join(names)} are not in DVC's cache; get them there first: dvc fetch {' '.join(names)}, "
            f"or, where they lie in {tree.project}, dvc commit --force {' '.join(names)}; then the next run takes them"
        ) from None


def _bring_rules(source: Path, target: Path) -> None:
    """The folder's own ``.dvcignore`` is no data, it says which entries are."""
    rules = source / DvcIgnore.DVCIGNORE_FILE
    if rules.exists():
        shutil.copy(rules, target / rules.name)
    else:
        (target / rules.name).unlink(missing_ok=True)


def _trackable(
    tree: Worktree, target: Path, entries: list[Path], on_left_out: Callable[[str], None]
) -> dict[str, Path]:
    """The entries that DVC may track, by name: ``dvc add`` refuses the others, and all that is added with them."""
    found: dict[str, Path] = {}
    with Repo(str(tree.folder)) as repo:
        for path in entries:
            is_ignored = repo.dvcignore.is_ignored_dir if path.is_dir() else repo.dvcignore.is_ignored_file
            if is_ignored(str(target / path.name)):
                on_left_out(f"{path.name}: .dvcignore names it")
            elif not path.exists():
                on_left_out(f"{path.name}: a link to nowhere")
            else:
                found[path.name] = path
                for inner in _links_to_nowhere(path):
                    on_left_out(f"{inner.relative_to(path.parent)}: a link to nowhere")
    return found


def _links_to_nowhere(entry: Path) -> list[Path]:
    """Those in a folder; a file holds none.

    Raises:
        OSError: something else in it cannot be read, or has a name that DVC cannot write down.
    """
    nowhere = []
    for path, found in _below(entry) if entry.is_dir() else [(entry, entry.stat())]:
        try:
            str(path.relative_to(entry.parent)).encode()
        except UnicodeEncodeError:
            raise OSError(errno.EILSEQ, "a name that is not UTF-8", str(path)) from None
        if isinstance(found, OSError):
            if found.errno not in _NOWHERE:
                raise found
            nowhere.append(path)
    return nowhere


def _check_import(project: Path, note: Path, data: Path) -> None:
    """An import's data in the folder are those that its ``.dvc`` file names; else nobody can tell which are meant."""
    with Repo(str(project)) as repo:
        outs = repo.stage.load_one(str(note)).outs
        if any("modified" in out.workspace_status().values() for out in outs):
            raise ReplacedImportError(
                f"{data}: not what {note.name} imported: remove {note.name} to train on these data, or "
                f"`dvc checkout --force {note.name}` to return to the import's"
            )


def content(folder: Path) -> str:
    """A hash of the content of the data that the ``.dvc`` files of ``folder`` name."""
    texts = [f"{path.name}\n{path.read_text(encoding='utf-8')}" for path in sorted(folder.glob("*.dvc"))]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def seen(project: Path) -> dict[str, str]:
    """The data of the last run that came to a conclusion: ``fingerprint``, ``content``, ``outcome``.

    ``waiting`` is the fingerprint of data that could not be brought since, ``tried`` that of those that came to none.
    """
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


def wait(project: Path, fingerprint: str) -> None:
    """These data cannot be brought until a person has mended something, which need not change a file of the folder.

    They are no news any more, but no conclusion either: each run that is due or asked for tries them again.
    """
    processes.write_json(project / SEEN, {**seen(project), "waiting": fingerprint})


def is_news(project: Path, fingerprint: str) -> bool:
    """Whether there are data, and no run has come to a conclusion about them or found that they cannot be brought."""
    known = seen(project)
    return fingerprint not in (EMPTY, known.get("fingerprint"), known.get("waiting"))


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
        shutil.copytree(source, target, ignore_dangling_symlinks=True)
        open_folders(target)  # they came with their modes, and DVC and the end of the run change what is in them
    else:
        shutil.copy2(source, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
