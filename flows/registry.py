"""Which commit is which version of the model, and which version is in production: GTO's tags on git commits.

``vlp@v0.1.0`` registers a version, ``vlp#prod#3`` is the third assignment of a version to ``prod``; the one with the
highest number counts. Tags are the only record: there is no other file to disagree with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gto.api
from gto.constants import Action
from gto.tag import parse_name

from flows.worktree import AUTHOR, EMAIL, git

STAGE = "prod"


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version and the commit that made it."""

    name: str
    commit: str


@dataclass(frozen=True, slots=True)
class Registry:
    """The versions of one artifact in the git repository of ``project``."""

    project: Path
    artifact: str

    def versions(self) -> list[Version]:
        """All that are registered, the oldest first."""
        found = [
            Version(parsed["version"], commit) for parsed, commit in self._tags() if parsed["action"] == Action.REGISTER
        ]
        return sorted(found, key=lambda version: _numbers(version.name))

    def assignments(self, stage: str = STAGE) -> list[Version]:
        """What was assigned to ``stage``, in order, and not taken out of it: the last one is in it now."""
        named = {version.commit: version for version in self.versions()}
        events = [(parsed, commit) for parsed, commit in self._tags() if parsed.get("stage") == stage]
        found: list[Version] = []
        for parsed, commit in sorted(events, key=lambda event: event[0].get("counter", 0)):
            version = named.get(commit)
            if version and parsed["action"] == Action.ASSIGN:
                found.append(version)
            elif parsed["action"] == Action.UNASSIGN:
                found = [each for each in found if each != version]
        return found

    def champion(self) -> Version | None:
        """The version in production; None before the first promotion."""
        assigned = self.assignments()
        return assigned[-1] if assigned else None

    def previous(self) -> Version | None:
        """The version that was in production before the champion and is another one."""
        assigned = self.assignments()
        return next((version for version in reversed(assigned) if version != assigned[-1]), None)

    def register(self, commit: str) -> Version:
        """Register ``commit`` as the next version; the version that it has where it is registered already."""
        for version in self.versions():
            if version.commit == commit:
                return version
        gto.api.register(str(self.project), self.artifact, commit, author=AUTHOR, author_email=EMAIL)
        return next(version for version in self.versions() if version.commit == commit)

    def deregister(self, version: Version) -> None:
        """Take the registration of a version back, which must be in no stage."""
        gto.api.deregister(str(self.project), self.artifact, version=version.name, delete=True)

    def assign(self, version: Version, stage: str = STAGE) -> str:
        """Put ``version`` into ``stage``; the tag, which ``unassign`` takes."""
        # Forced: GTO would refuse to return to a version that was there before, which is what a rollback does.
        tag = gto.api.assign(
            str(self.project), self.artifact, stage, version=version.name, force=True, author=AUTHOR, author_email=EMAIL
        )
        return str(tag.tag)

    def unassign(self, tag: str) -> None:
        """Take one assignment back: the one before counts again."""
        git(self.project, "tag", "--delete", tag)

    def _tags(self) -> list[tuple[dict[str, Any], str]]:
        """What GTO's tags about the artifact say, each with its commit."""
        patterns = (f"refs/tags/{self.artifact}@*", f"refs/tags/{self.artifact}#*")
        lines = git(self.project, "for-each-ref", "--format=%(refname:strip=2) %(*objectname)", *patterns).splitlines()
        found = []
        for line in lines:
            tag, _, commit = line.partition(" ")
            parsed = parse_name(tag, raise_on_fail=False)
            if commit and parsed.get("name") == self.artifact:
                found.append((parsed, commit))
        return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.removeprefix("v").split(".") if part.isdigit())
