"""Raw files below one root and never from outside it: a local folder or, where a parameter names one, a remote.

A remote is any address that fsspec knows (``s3://``, ``gs://``, ``https://``, …; https://filesystem-spec.readthedocs.io).
Nothing of it is tracked by DVC: its bytes are pinned by what ingest writes. ``dvc import-url`` is the tracked way.
"""

from __future__ import annotations

import io
import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from pydantic import Field

from vlp.params import Section

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


logger = logging.getLogger(__name__)


class RootError(ValueError):
    """A file that a source cannot do without is missing or outside the root, or a remote cannot be reached."""


class RemoteError(ValueError):
    """A remote failed: the stage stops, since records must not be lost to a network that was down for a minute."""


class Place(Section):
    """Where a source reads and how much of one file: the fields that sources of files share."""

    remote: str | None = Field(
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://",
        description="address that the files are read from instead of ingest.root: s3://, gs://, https://, …",
    )
    max_bytes: int = Field(64 * 2**20, gt=0, description="bytes of one file; a larger one is no picture")


class Root(ABC):
    """A folder of raw files. Names are relative, with ``/``; one that leaves the root is a problem, not a file."""

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """The file ``name``, to be closed by the caller.

        Raises:
            RootError: it is missing, not a file, outside the root, or cannot be read.
        """

    def match(self, patterns: Iterable[str]) -> list[str]:
        """The files that the patterns name, pattern by pattern, each once.

        Args:
            patterns: a path with ``*``, ``?`` and ``[…]`` inside its parts, or with one ``{000..041}``; the latter
                needs no listing, which a web server cannot give.

        Raises:
            RootError: nothing matches a pattern.
        """
        found: dict[str, None] = {}
        listed: list[str] | None = None
        for pattern in patterns:
            names = expand(pattern)
            if any(sign in pattern for sign in "*?["):
                listed = list(self.files()) if listed is None else listed
                names = [name for name in listed for one in names if PurePosixPath(f"/{name}").match(f"/{one}")]
            if not names:
                raise RootError(f"no file matches {pattern!r}")
            found.update(dict.fromkeys(names))
        return list(found)

    @abstractmethod
    def files(self) -> Iterator[str]:
        """The names of all files below the root, sorted folder by folder; links to folders are not followed."""

    def read(self, name: str, limit: int) -> tuple[bytes, str]:
        """The bytes of the file ``name``, or none and why there are none.

        Args:
            name: relative to the root.
            limit: most bytes that are read: a larger file is a problem.
        """
        try:
            with self.open(name) as file:
                data = file.read(limit + 1)
        except RootError as error:
            return b"", str(error)
        except OSError as error:
            return b"", f"cannot be read ({error})"
        return (b"", f"more than {limit} bytes; raise max_bytes if it is wanted") if len(data) > limit else (data, "")


@dataclass(frozen=True, slots=True)
class Local(Root):
    """A folder of this machine."""

    folder: Path

    def open(self, name: str) -> IO[bytes]:
        if _leaves(name):
            raise RootError("not a path below the root")
        path = self.folder / name
        try:
            if not path.resolve().is_relative_to(self.folder.resolve()):
                raise RootError("a link that leaves the root")
            if not path.is_file():  # a device or a pipe would not end
                raise RootError(f"no such file below {self.folder}")
            return path.open("rb")
        except RootError:
            raise
        except (
            OSError,
            RuntimeError,
            UnicodeError,
        ) as error:  # RuntimeError: a link to itself, in Python 3.11 and 3.12
            raise RootError(f"cannot be read ({error})") from None

    def files(self) -> Iterator[str]:
        for folder, below, names in os.walk(self.folder, onerror=_unlisted, followlinks=False):
            below.sort()
            for name in below:
                if os.path.islink(os.path.join(folder, name)):  # noqa: PTH114, PTH118
                    logger.warning("ignored: %s/%s is a link to a folder", folder, name)
            for name in sorted(names):
                yield (Path(folder) / name).relative_to(self.folder).as_posix()


def _unlisted(error: OSError) -> None:
    raise RootError(f"{error.filename}: cannot be listed ({error.strerror})") from None


@dataclass(frozen=True, slots=True)
class Remote(Root):
    """An address that fsspec opens.

    A file that is not there is a problem of its record; a remote that fails otherwise is a ``RemoteError``.
    """

    url: str
    system: AbstractFileSystem
    base: str

    def open(self, name: str) -> IO[bytes]:
        if _leaves(unquote(name)):
            raise RootError("not a path below the root")
        try:
            opened = self._opened(name)
        except (FileNotFoundError, IsADirectoryError) as error:
            # Over HTTP everything that fails is "not found" to fsspec; what failed stands behind it.
            if error.__cause__ is not None and getattr(error.__cause__, "status", None) not in (404, 410):
                raise RemoteError(f"{self.url}: {name}: {error.__cause__}") from error
            raise RootError(f"no such file below {self.url}") from None
        except Exception as error:
            raise RemoteError(f"{self.url}: {name}: {type(error).__name__}: {error}") from error
        return io.BufferedReader(_Guarded(opened, f"{self.url}: {name}"), 1 << 20)

    def _opened(self, name: str) -> IO[bytes]:
        """In an address ``#``, ``?`` and ``%`` mean something; a name may also be listed as it stands in one."""
        spelled = quote(name) if self.url.startswith(("http://", "https://")) else name
        try:
            found: IO[bytes] = self.system.open(f"{self.base}/{spelled}", "rb")
        except FileNotFoundError:
            if spelled == name or "#" in name or "?" in name:
                raise
            found = self.system.open(f"{self.base}/{name}", "rb")
        return found

    def files(self) -> Iterator[str]:
        try:
            found: list[str] = sorted(self.system.find(self.base))
        except Exception as error:
            raise RootError(f"{self.url}: cannot be listed ({type(error).__name__}: {error})") from error
        yield from (path[len(self.base) :].lstrip("/") for path in found)


class _Guarded(io.RawIOBase):
    """A remote file, whose faults are ``RemoteError`` whatever library reads it."""

    def __init__(self, file: Any, name: str) -> None:
        self.file, self.name = file, name

    def _of_file(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self.file, method)(*arguments)
        except Exception as error:
            raise RemoteError(f"{self.name}: {type(error).__name__}: {error}") from error

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._of_file("seekable"))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._of_file("seek", offset, whence))

    def tell(self) -> int:
        return int(self._of_file("tell"))

    def readinto(self, buffer: Any) -> int:
        data = self._of_file("read", len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self.file.close()
        super().close()


def open_root(root: Path, remote: str | None) -> Root:
    """The root that a source reads from.

    Args:
        root: a local folder.
        remote: an address to read instead; None: no network is touched.

    Raises:
        RootError: there is no such folder, or nothing installed that opens the address.
    """
    if remote is None:
        if not root.is_dir():
            raise RootError(f"{root}: no such folder; set ingest.root")
        return Local(root)
    import fsspec

    protocol = remote.split("://")[0]
    try:
        system, base = fsspec.core.url_to_fs(remote.rstrip("/"))
    except ImportError as error:
        raise RootError(f"{remote}: reading {protocol}:// needs another package ({error})") from None
    except ValueError as error:
        raise RootError(f"{remote}: {error}") from None
    return Remote(remote, system, base.rstrip("/"))


def expand(pattern: str) -> list[str]:
    """``shard-{008..010}.tar`` as ``shard-008.tar``, ``shard-009.tar``, ``shard-010.tar``; others as they are.

    Raises:
        RootError: the range is empty or has more than a million numbers.
    """
    if (found := re.search(r"\{(\d+)\.\.(\d+)\}", pattern)) is None:
        return [pattern]
    first, last, width = int(found[1]), int(found[2]), len(found[1])
    if not 0 <= last - first < 1_000_000:
        raise RootError(f"{pattern!r}: a range goes up, by no more than a million")
    return [f"{pattern[: found.start()]}{n:0{width}d}{pattern[found.end() :]}" for n in range(first, last + 1)]


def _leaves(name: str) -> bool:
    path: Any = PurePosixPath(name)
    return not name or path.is_absolute() or ".." in path.parts or "\0" in name
