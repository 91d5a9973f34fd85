"""Tar archives as streams of samples: nothing is extracted, nothing named in one leads anywhere.

A sample is a run of members with one key, which is the path up to the first dot of the file's name; what follows is
the field: ``0001.jpg`` and ``0001.seg.png`` are the fields ``jpg`` and ``seg.png`` of the sample ``0001``.

Source: WebDataset's format, https://github.com/webdataset/webdataset. The package of that name is not used to read:
it runs commands named in addresses (``pipe:``) and unpickles fields by their extension.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Self

from vlp.data.raw.root import RemoteError

MEMBERS_AT_MOST, MAX_FIELDS = 4, 256
"""A sample may hold so many times what one member may, in so many fields."""
MAX_HEADER_BYTES = 1 << 20
"""Of a member's extended header, which tarfile reads into memory before anyone has asked for it."""

# What tarfile and the decompressors raise on hostile bytes; RecursionError: headers that extend headers.
_FAULTS = (
    *(tarfile.TarError, EOFError, OSError, ValueError, ArithmeticError, LookupError, RecursionError),
    *(zlib.error, lzma.LZMAError),
)


class ArchiveError(ValueError):
    """An archive that is none, or ends before its end."""


@dataclass(slots=True)
class Sample:
    """Members of one key."""

    key: str
    fields: dict[str, bytes] = field(default_factory=dict)
    problem: str = ""
    """What is wrong with one of its members; empty if nothing is."""

    @property
    def size(self) -> int:
        """Bytes of all fields."""
        return sum(map(len, self.fields.values()))


def samples(stream: IO[bytes], max_bytes: int) -> Iterator[Sample]:
    """The samples of a tar archive, packed by gzip, bzip2 or xz or not at all, in order. Memory holds one.

    Args:
        stream: the archive, read once from its beginning.
        max_bytes: of one member; a sample with a larger one has a ``problem``.

    Raises:
        ArchiveError: the archive is damaged or cut short; the samples before that have come.
    """
    current: Sample | None = None
    try:
        with _opened(stream) as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has met
                if member.isdir():
                    continue
                key, name = _split(member.name)
                if current is not None and key != current.key:
                    yield current
                    current = None
                current = current or Sample(key)
                problem = _problem(member, name, current, max_bytes)
                if problem:
                    current.problem = current.problem or f"member {member.name!r}: {problem}"
                    continue
                file = archive.extractfile(member)
                assert file is not None, "a regular member has bytes"
                current.fields[name] = file.read()
    except RemoteError:
        raise
    except _FAULTS as error:
        # The sample that was being read may lack a member: it goes with what is lost.
        after = f" after sample {current.key!r}" if current else ""
        raise ArchiveError(f"damaged or cut short{after}: {error}") from None
    if current is not None:
        yield current


def _opened(stream: IO[bytes]) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Member)
    except AttributeError as error:
        # Some releases of Python 3.11 and 3.12 trip over a damaged gzip header before they can name it (`_Stream`).
        if error.name != "exception":
            raise
        raise tarfile.ReadError("damaged gzip header") from None


def _problem(member: tarfile.TarInfo, name: str, sample: Sample, max_bytes: int) -> str:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        return "not a path inside the archive"
    if any("\ud800" <= letter <= "\udfff" for letter in member.name):
        return "a name that is not UTF-8"
    if not member.isreg() or member.issparse():
        return "a link, a device or a sparse file, where a file is expected"
    if member.size > max_bytes:
        return f"{member.size} bytes, more than {max_bytes}; raise max_bytes if it is wanted"
    if sample.size + member.size > MEMBERS_AT_MOST * max_bytes or len(sample.fields) >= MAX_FIELDS:
        return f"more than {MAX_FIELDS} members, or than {MEMBERS_AT_MOST * max_bytes} bytes, in one sample"
    if not name:
        return "no extension to say what it is"
    return "the second of this name in its sample" if name in sample.fields else ""


def _split(path: str) -> tuple[str, str]:
    """Key and field of a member."""
    folder, slash, file = path.rpartition("/")
    stem, _, extension = file.partition(".")
    return f"{folder}{slash}{stem}", extension.lower()


class _Member(tarfile.TarInfo):
    """Headers as tarfile reads them, but a damaged one is an error rather than the end, and none fills the memory."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """The next member.

        Raises:
            ReadError: its header is damaged, or the archive ends without the blocks that end one.
        """
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size < 0 or (self.type in _EXTENDED and self.size > MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {self.size} bytes, allowed {MAX_HEADER_BYTES}")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


_EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE),
)
