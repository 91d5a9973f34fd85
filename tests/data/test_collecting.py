from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlp import params as parameters
from vlp import plugins
from vlp.data import shards
from vlp.data.collecting import ChangedError, after, collect, unique
from vlp.data.raw.root import Remote, Root
from vlp.records import Record

MAPPING = {"manifest": {"file": "pairs.jsonl", "image": "image", "captions": ["text"]}, "image_folder": {}}


def record(number: int, image: bytes = b"") -> Record:
    return Record(id=f"r{number}", image=image, image_name="", captions=(), group=f"r{number}")


def test_what_an_unfinished_run_took_is_passed_over_if_it_is_still_there() -> None:
    records = [record(number) for number in range(4)]
    assert list(after(records[:2], iter(records))) == records[2:]
    assert list(after([], iter(records))) == records


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ([record(0)], "record 2, 'r1', is gone"),
        ([record(0), record(2)], "record 2, 'r1', is another one"),
        ([record(0), replace(record(1), image=b"x")], "record 2, 'r1', has changed"),
    ],
)
def test_what_is_no_longer_there_is_named(now: list[Record], message: str) -> None:
    with pytest.raises(ChangedError, match=message):
        list(after([record(0), record(1)], iter(now)))


def test_no_two_records_share_an_id() -> None:
    assert len(list(unique([record(1), record(2)], ["r0"]))) == 2
    with pytest.raises(ValueError, match="records 1 and 3 share the id 'r0'"):
        list(unique([record(1), record(0)], ["r0"]))


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five pictures on a remote, two a shard."""
    monkeypatch.setattr(shards, "ROWS_PER_SHARD", 2)
    folder = tmp_path / "far" / "cat"
    folder.mkdir(parents=True)
    for number in range(5):
        (folder / f"{number}.png").write_bytes(b"picture %d" % number)
    rows = [{"image": f"cat/{number}.png", "text": f"cat {number}"} for number in range(5)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def collected(out: Path, far: Path, name: str) -> list[bytes]:
    """The shards of what the source ``name`` reads from the remote."""
    source = plugins.find("vlp.data.sources", name)
    section: dict[str, Any] = MAPPING[name] | {"remote": far.parent.as_uri()}
    options = parameters.parse(source.Params, section, name)
    out.mkdir(exist_ok=True)
    collect(out, source, far.parent.parent, options, 1)
    return [path.read_bytes() for path in shards.paths(out, "records")]


def killed(out: Path, far: Path, name: str) -> None:
    read = Root.read

    def dying(self: Root, name: str, limit: int) -> tuple[bytes, str]:
        if name == "cat/4.png":
            raise KeyboardInterrupt
        return read(self, name, limit)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Remote, "read", dying)
        with pytest.raises(KeyboardInterrupt):
            collected(out, far, name)
    assert shards.finished_shards(out, "records") == [2, 2]


def change(far: Path, what: str) -> None:
    if what == "bytes":
        (far / "1.png").write_bytes(b"another")
    elif what == "renamed":
        (far / "1.png").rename(far / "0a.png")
    elif what == "gone":
        for number in range(1, 5):
            (far / f"{number}.png").unlink()


@pytest.mark.parametrize("name", sorted(MAPPING))
@pytest.mark.parametrize("what", ["nothing", "bytes", "renamed", "gone"])
def test_a_run_goes_on_only_with_the_records_that_it_began_with(
    tmp_path: Path, far: Path, caplog: pytest.LogCaptureFixture, name: str, what: str
) -> None:
    killed(tmp_path / "out", far, name)
    change(far, what)
    assert collected(tmp_path / "out", far, name) == collected(tmp_path / "whole", far, name)
    told = [each.getMessage() for each in caplog.records if "reading everything anew" in each.getMessage()]
    assert len(told) == (what != "nothing")
    assert all(line.startswith("record 2, 'cat/1.png', ") for line in told)


@pytest.mark.parametrize("name", sorted(MAPPING))
def test_a_remote_that_grew_behind_a_finished_last_shard_is_read_anew(
    tmp_path: Path, far: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    collected(tmp_path / "out", far, name)
    assert shards.finished_shards(tmp_path / "out", "records") == [2, 2, 1]
    (far / "5.png").write_bytes(b"picture 5")
    table = tmp_path / "pairs.jsonl"
    table.write_text(table.read_text("utf-8") + "\n" + json.dumps({"image": "cat/5.png", "text": "cat 5"}), "utf-8")
    assert collected(tmp_path / "out", far, name) == collected(tmp_path / "whole", far, name)
    assert any("record 6, 'cat/5.png', is new" in each.getMessage() for each in caplog.records)


def test_a_local_source_that_can_begin_anywhere_reads_nothing_twice(
    tmp_path: Path, far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = plugins.find("vlp.data.sources", "image_folder")
    whole, out = tmp_path / "whole", tmp_path / "out"
    whole.mkdir()
    assert collect(whole, source, far.parent, source.Params(), 1) == 5
    out.mkdir()
    for path in shards.paths(whole, "records")[:2]:
        (out / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr("vlp.data.shards.read_records", lambda *_: pytest.fail("there is nothing to compare"))
    assert collect(out, source, far.parent, source.Params(), 1) == 5
    assert [p.read_bytes() for p in shards.paths(out, "records")] == [
        p.read_bytes() for p in shards.paths(whole, "records")
    ]
