"""Two commits, each checked out as a clean clone would have it, and what DVC says of each.

``dvc metrics diff`` ends with status 0 and an empty table where dvc.yaml is broken or a metrics file is missing. So
each commit is asked by itself: is anything left to run, and which metrics are declared? Every answer but a whole one
is an error here.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp.commands import CommandError, environment, output

# "is cached": the run cache knows the result, but the lock does not, which is just as untrue.
_LEFT_TO_RUN = re.compile(r"^(?:Running stage|Stage) '([^']+)'(?::| is cached)", re.MULTILINE)
# Where its input is not here, a stage that would run fails even when nothing is run; those after it are not looked at.
_CANNOT_RUN = re.compile(r"failed to reproduce '([^']+)'")


class ReportError(ValueError):
    """A report that would not be true, or cannot be made; one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One commit, checked out in a folder of its own."""

    name: str
    """As the user gave it."""
    commit: str
    """40 hexadecimal digits."""
    folder: Path
    """Its tree: the files that git holds, nothing else."""

    @property
    def short(self) -> str:
        """The first digits of the commit, as git shows them."""
        return self.commit[:9]

    def stale_stages(self) -> list[str]:
        """The stages that would run in a clean clone: their results in git are not of their code.

        Raises:
            ReportError: dvc.yaml or dvc.lock cannot be read.
        """
        try:
            said = self._dvc("repro", "--dry", "--allow-missing")
        except CommandError as error:
            if not (cannot := _CANNOT_RUN.findall(error.stderr)):
                raise ReportError(f"{self.name}: {error}") from None
            return list(dict.fromkeys([*_LEFT_TO_RUN.findall(error.stdout), *cannot]))
        return list(dict.fromkeys(_LEFT_TO_RUN.findall(said)))

    def metrics(self) -> dict[str, dict[str, Any]]:
        """The content of every metrics file that dvc.yaml declares, by path.

        Raises:
            ReportError: none is declared, or one that is declared is missing or no JSON object.
        """
        # DVC knows what its templates declare; of the content it shows numbers alone, so that is read here.
        told = json.loads(self._dvc("metrics", "show", "--json"))[""]
        if "error" in told:
            raise ReportError(f"{self.name}: {told['error']['msg']}")
        found: dict[str, dict[str, Any]] = {}
        for path, entry in sorted(told["data"].items()):
            if "error" in entry:
                kind, why = entry["error"]["type"], entry["error"]["msg"]
                text = "declared in dvc.yaml, but not in the commit" if kind == "FileNotFoundError" else why
                raise ReportError(f"{self.name}: {path}: {text}; run dvc repro and commit dvc.lock with its metrics")
            content = json.loads((self.folder / path).read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ReportError(f"{self.name}: {path}: expected an object, found {type(content).__name__}")
            found[path] = content
        if not found:
            raise ReportError(f"{self.name}: dvc.yaml declares no metrics: there is nothing to compare")
        return found

    def _dvc(self, *arguments: str) -> str:
        # A site cache of its own: DVC would keep one for every folder that it was ever run in.
        return output(self.folder, "dvc", *arguments, env=environment(DVC_SITE_CACHE_DIR=f"{self.folder}.site"))


@contextmanager
def checked_out(project: Path, *names: str) -> Iterator[tuple[Revision, ...]]:
    """The revisions ``names`` of ``project``, each in a temporary git worktree that goes afterwards.

    Raises:
        ReportError: a revision is not in ``project``.
    """
    commits = [resolve(project, name) for name in names]
    with tempfile.TemporaryDirectory(prefix="vlp-report-") as temporary:
        folders = [Path(temporary) / str(place) for place in range(len(names))]
        try:
            for folder, commit in zip(folders, commits, strict=True):
                output(project, "git", "worktree", "add", "--quiet", "--detach", str(folder), commit)
            yield tuple(map(Revision, names, commits, folders))
        finally:
            for folder in folders:
                if folder.exists():
                    output(project, "git", "worktree", "remove", "--force", str(folder))


def resolve(project: Path, name: str) -> str:
    """The commit that ``name`` means here: itself, or the branch of that name at ``origin``.

    Raises:
        ReportError: neither is here, as in a shallow clone of one branch; the message is the fetch to do.
    """
    for candidate in (name, f"origin/{name}"):
        try:
            return output(project, "git", "rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}").strip()
        except CommandError:
            continue
    is_commit = re.fullmatch(r"[0-9a-f]{7,40}", name)
    fetch = name if is_commit else f"+refs/heads/{name}:refs/remotes/origin/{name}"
    raise ReportError(f"{name}: no such revision in this clone; fetch it first: git fetch --depth=1 origin {fetch}")


def check_repository(project: Path) -> None:
    """Raise ``ReportError`` where ``project`` is not the root of a repository of git and of DVC."""
    for needed, what in ((".git", "git"), (".dvc", "DVC")):
        if not (project / needed).exists():
            raise ReportError(f"{project}: not the root of a {what} repository")


def uncommitted(project: Path) -> list[str]:
    """Tracked files that differ from the last commit, and new ones: none of them is part of a report."""
    lines = output(project, "git", "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all").split("\0")
    return [line[3:] for line in lines if line]
