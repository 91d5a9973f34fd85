"""Which commit is which version of the model, and which version is in production: GTO's tags on git commits.

``vlp@v0.1.0`` registers a version, ``vlp#prod#3`` is the third assignment of a version to ``prod``; the one with the
highest number counts. Tags are the only record: there is no other file to disagree with.
"""

from __future__ import annotations

import re
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


class DeprecatedError(ValueError):
    """A commit whose version was deprecated is to be registered again."""


@dataclass(frozen=True, slots=True)
class Registry:
    """The versions of one artifact in the git repository of ``project``."""

    project: Path
    artifact: str

    def versions(self) -> list[Version]:
        """All that are registered and not deprecated (``gto deprecate``), the oldest first."""
        tags = self._tags()
        withdrawn = {tag.parsed["version"] for tag in tags if tag.action == Action.DEREGISTER}
        found = [tag for tag in tags if tag.action == Action.REGISTER]
        # As GTO counts: an artifact that is deprecated as a whole is one again with its next version.
        ended = max((tag.created for tag in tags if tag.action == Action.DEPRECATE), default=0)
        if ended and not any(tag.created > ended for tag in found):
            return []
        versions = [Version(tag.parsed["version"], tag.commit) for tag in found]
        return sorted(
            (each for each in versions if each.name not in withdrawn), key=lambda version: _numbers(version.name)
        )

    def assignments(self, stage: str = STAGE) -> list[Version]:
        """What was assigned to ``stage``, in order, and not taken out of it: the last one is in it now."""
        named = {version.commit: version for version in self.versions()}
        events = [tag for tag in self._tags() if tag.parsed.get("stage") == stage]
        found: list[Version] = []
        for tag in sorted(events, key=lambda event: event.parsed.get("counter", 0)):
            version = named.get(tag.commit)
            if version and tag.action == Action.ASSIGN:
                found.append(version)
            elif tag.action == Action.UNASSIGN:
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
        """Register ``commit`` as the next version; the version that it has where it is registered already.

        Raises:
            DeprecatedError: it was a version, and was deprecated.
        """
        for version in self.versions():
            if version.commit == commit:
                return version
        names = {tag.parsed["version"]: tag.commit for tag in self._tags() if tag.action == Action.REGISTER}
        if old := [name for name, of in names.items() if of == commit]:
            raise DeprecatedError(
                f"{commit[:12]} is {old[0]} of {self.artifact}, which was deprecated: promote another commit, or "
                f"delete the tag that says so (git tag --list '{self.artifact}@*')"
            )
        # Named here: GTO would count on from the last that is not deprecated, and give a name twice.
        last = max(map(_numbers, names), default=None)
        following = None if last is None else f"v{'.'.join(map(str, (*last[:-1], last[-1] + 1)))}"
        gto.api.register(str(self.project), self.artifact, commit, version=following, author=AUTHOR, author_email=EMAIL)
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

    def _tags(self) -> list[_Tag]:
        """What GTO's tags about the artifact say."""
        patterns = (f"refs/tags/{self.artifact}@*", f"refs/tags/{self.artifact}#*")
        shown = "--format=%(refname:strip=2) %(*objectname) %(creatordate:unix)"
        found = []
        for line in git(self.project, "for-each-ref", shown, *patterns).splitlines():
            tag, commit, created = line.split(" ")
            parsed = parse_name(tag, raise_on_fail=False)
            if commit and parsed.get("name") == self.artifact:
                found.append(_Tag(parsed, commit, int(created)))
        return found


@dataclass(frozen=True, slots=True)
class _Tag:
    parsed: dict[str, Any]
    commit: str
    created: int
    """In seconds, as GTO orders them."""

    @property
    def action(self) -> Action:
        action: Action = self.parsed["action"]
        return action


def _numbers(version: str) -> tuple[int, ...]:
    """Major, minor, patch."""
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
