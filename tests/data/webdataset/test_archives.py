from __future__ import annotations

import gzip
import io
import struct
import tarfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.data.webdataset import archives
from vlp.data.webdataset.archives import ArchiveError, Sample, samples


def archive(*members: tuple[str, bytes] | tarfile.TarInfo, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.GNU_FORMAT) as tar:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def read(data: bytes, max_bytes: int = 1000) -> list[Sample]:
    return list(samples(io.BytesIO(data), max_bytes))


PAIR = [("a/1.jpg", b"one"), ("a/1.seg.PNG", b"mask"), ("a/2.jpg", b"two")]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_members_of_one_key_are_one_sample_however_packed(mode: str) -> None:
    assert read(archive(*PAIR, mode=mode)) == [
        Sample("a/1", {"jpg": b"one", "seg.png": b"mask"}),
        Sample("a/2", {"jpg": b"two"}),
    ]


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        (("../x.jpg", b"out"), "not a path inside the archive"),
        (("/etc/x.jpg", b"out"), "not a path inside the archive"),
        (special("x.jpg", tarfile.SYMTYPE, "/etc/passwd"), "a link, a device or a sparse file"),
        (special("x.jpg", tarfile.LNKTYPE, "1.jpg"), "a link, a device or a sparse file"),
        (special("x.jpg", tarfile.CHRTYPE), "a link, a device or a sparse file"),
        (special("x.jpg", tarfile.FIFOTYPE), "a link, a device or a sparse file"),
        (("x.jpg", bytes(1001)), "1001 bytes, more than 1000"),
        (("README", b"text"), "no extension"),
        (("\udcff.jpg", b"x"), "a name that is not UTF-8"),
    ],
)
def test_a_member_that_is_no_plain_file_inside_costs_its_own_sample(
    member: tuple[str, bytes] | tarfile.TarInfo, problem: str
) -> None:
    first, refused, last = read(archive(PAIR[0], member, PAIR[2]))
    assert (first.problem, last.problem) == ("", "")
    assert problem in refused.problem
    assert refused.fields == {}


def test_two_members_of_one_name_are_not_guessed_between() -> None:
    (sample,) = read(archive(("1.jpg", b"a"), ("1.JPG", b"b")))
    assert sample.problem == "member '1.JPG': the second of this name in its sample"


def test_directories_are_no_samples() -> None:
    assert read(archive(special("a", tarfile.DIRTYPE), *PAIR))[0].key == "a/1"


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.6, 0.9])
def test_an_archive_cut_short_gives_whole_samples_and_an_error(mode: str, share: float) -> None:
    whole = archive(*((f"{n}.jpg", bytes([n]) * 700) for n in range(20)), mode=mode)
    if mode == "w":
        whole = whole[: whole.rindex(b"\x13") + 1024]  # without the padding
    found = samples(io.BytesIO(whole[: int(share * len(whole))]), 1000)
    got = []
    with pytest.raises(ArchiveError, match="damaged or cut short"):
        got.extend(found)
        got.extend(found)
    assert all(sample.fields["jpg"] == bytes([number]) * 700 for number, sample in enumerate(got))


def test_garbage_between_members_is_an_error_and_not_the_end() -> None:
    data = bytearray(archive(*PAIR))
    data[1024:1100] = b"garbage" * 10 + b"123456"
    with pytest.raises(ArchiveError, match="after sample 'a/1'"):
        read(bytes(data))


def test_a_header_that_claims_gigabytes_fills_no_memory() -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 64 * 2**20
    bomb = gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + bytes(header.size))
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="a header of 67108864 bytes"):
        read(bomb)
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


def test_a_large_member_is_passed_over_without_being_held() -> None:
    data = archive(("big.jpg", bytes(64 * 2**20)), PAIR[0])
    tracemalloc.start()
    big, small = read(data)
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()
    assert (big.fields, small.fields) == ({}, {"jpg": b"one"})


def test_a_size_below_nothing_does_not_go_round_for_ever() -> None:
    info = tarfile.TarInfo("x.jpg")
    data = bytearray(info.tobuf())
    data[124:136] = b"\xff" * 4 + struct.pack(">q", -1024)
    data[148:156] = b"        "
    data[148:156] = b"%06o\0 " % sum(data[:512])
    with pytest.raises(ArchiveError):
        read(bytes(data) + bytes(4096))


def test_a_gzip_header_that_promises_more_than_there_is_is_damage() -> None:
    """Its flag of further fields is set, so that what is packed is taken for their length."""
    data = bytearray(archive(*PAIR, mode="w:gz"))
    data[3] |= 4
    with pytest.raises(ArchiveError, match="damaged or cut short"):
        read(bytes(data))


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=20),
    st.sampled_from(["w", "w:gz"]),
)
def test_damaged_archives_are_samples_or_an_archive_error(changes: list[tuple[int, int]], mode: str) -> None:
    data = bytearray(archive(*PAIR, mode=mode))
    for place, value in changes:
        data[place % len(data)] = value
    try:
        found = read(bytes(data))
    except ArchiveError:
        return
    assert all(len(content) <= 1000 for sample in found for content in sample.fields.values())


def test_the_limit_of_headers_leaves_long_names_alone() -> None:
    name = "x" * 3000 + ".jpg"
    assert archives.MAX_HEADER_BYTES > 3004
    assert read(archive((name, b"a")))[0].key == "x" * 3000
