"""Raw files below one root and never from outside it: a local folder or, where a parameter names one, a remote.

A remote is any address that fsspec knows (``s3://``, ``gs://``, ``https://``, …; https://filesystem-spec.readthedocs.io).
Nothing of it is tracked by DVC: its bytes are pinned by what ingest writes. ``dvc import-url`` is the tracked way.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote

from pydantic import Field

from vlp.params import Section

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


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
        except Exception as error:  # noqa: BLE001 - each fsspec implementation has its own
            return b"", self._unreadable(name, error)
        return (b"", f"more than {limit} bytes; raise max_bytes if it is wanted") if len(data) > limit else (data, "")

    def _unreadable(self, name: str, error: Exception) -> str:
        """What to say of a file that opened but does not read; a root that cannot go on raises."""
        if not isinstance(error, OSError):
            raise error
        return f"{name}: cannot be read ({error})"


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
        except (OSError, RuntimeError, UnicodeError) as error:  # RuntimeError: a link to itself, in Python 3.11 and 3.12
            raise RootError(f"cannot be read ({error})") from None

    def files(self) -> Iterator[str]:
        for folder, below, names in os.walk(self.folder, followlinks=False):
            below.sort()
            for name in sorted(names):
                yield (Path(folder) / name).relative_to(self.folder).as_posix()


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
            opened: IO[bytes] = self.system.open(f"{self.base}/{name}", "rb")
        except (FileNotFoundError, IsADirectoryError) as error:
            # Over HTTP everything that fails is "not found" to fsspec; what failed stands behind it.
            if error.__cause__ is not None and getattr(error.__cause__, "status", None) not in (404, 410):
                raise RemoteError(f"{self.url}: {name}: {error.__cause__}") from error
            raise RootError(f"no such file below {self.url}") from None
        except Exception as error:  # noqa: BLE001 - each fsspec implementation has its own
            raise RemoteError(f"{self.url}: {name}: {type(error).__name__}: {error}") from error
        return opened

    def _unreadable(self, name: str, error: Exception) -> str:
        raise RemoteError(f"{self.url}: {name}: {type(error).__name__}: {error}") from error

    def files(self) -> Iterator[str]:
        try:
            found: list[str] = sorted(self.system.find(self.base))
        except Exception as error:  # noqa: BLE001 - as above
            raise RootError(f"{self.url}: cannot be listed ({type(error).__name__}: {error})") from error
        yield from (path[len(self.base) :].lstrip("/") for path in found)


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


def _leaves(name: str) -> bool:
    path: Any = PurePosixPath(name)
    return not name or path.is_absolute() or ".." in path.parts or "\0" in name
