from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from vlp.data import shards
from vlp.data.shards import ShardError, finished_shards, open_table, paths, read, read_records, write, write_records
from vlp.records import Caption, Question, Record, Region

SCHEMA = pa.schema([pa.field("number", pa.int64(), nullable=False)])


def record(number: int) -> Record:
    return Record(
        id=f"r{number}",
        image=bytes([number % 256]) * 100,
        image_name=f"{number}.png",
        captions=(Caption(text="a", negative="b", kind="attribute"), Caption(text="c")),
        group=f"g{number}",
        split="test" if number % 2 else None,
        labels=("x", "y"),
        questions=(
            Question(text="q?", answer="yes", type="exists", given=("yes", "maybe")),
            Question(text="p?", answer="no"),
        ),
        regions=(Region(expression="e", mask=b"png"),),
        annotation="{}",
        fault=None if number % 3 else "pairs.jsonl:1: broken",
    )


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS_PER_SHARD", 8)
    monkeypatch.setattr(shards, "ROWS_PER_BATCH", 4)


@pytest.mark.parametrize("count", [0, 1, 4, 7, 8, 9, 16, 35])
def test_rows_come_back_in_order_however_they_fill_the_shards(tmp_path: Path, count: int) -> None:
    assert write(tmp_path, "numbers", ({"number": number} for number in range(count)), SCHEMA) == count
    assert [row["number"] for row in read(tmp_path, "numbers")] == list(range(count))
    assert len(paths(tmp_path, "numbers")) == max(1, -(-count // 8))


def test_a_batch_ends_where_its_images_are_heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BYTES_PER_BATCH", 250)  # a record weighs 103
    records = [replace(record(number), image=b"x" * (1000 if number == 3 else 100)) for number in range(8)]
    write_records(tmp_path, records)
    sizes = [batch.num_rows for batch in open_table(tmp_path, "records").to_batches()]
    assert sizes == [2, 1, 1, 2, 2], "a row that is heavier than a batch has one of its own"
    assert list(read_records(tmp_path)) == records


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    bare = Record(id="bare", image=b"", image_name="", captions=(), group="bare")
    records = [*(record(number) for number in range(10)), bare]
    assert write_records(tmp_path, records) == 11
    assert list(read_records(tmp_path)) == records


def test_texts_can_be_read_without_the_images(tmp_path: Path) -> None:
    write_records(tmp_path, [record(1)])
    (found,) = read_records(tmp_path, images=False)
    assert found.image == b""
    assert found.captions == record(1).captions


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_records(tmp_path / name, map(record, range(10)))
    for one, two in zip(paths(tmp_path / "one", "records"), paths(tmp_path / "two", "records"), strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_rows_are_taken_only_as_they_are_written(tmp_path: Path) -> None:
    taken = []

    def rows() -> object:
        for number in range(20):
            taken.append(number)
            yield {"number": number}
            if number == 9:
                assert sum(table.num_rows for table in _written(tmp_path)) >= 4

    write(tmp_path, "numbers", rows(), SCHEMA)  # type: ignore[arg-type]
    assert len(taken) == 20


def _written(folder: Path) -> list[pa.Table]:
    """The closed shards of ``numbers``."""
    return [pa.ipc.open_file(str(path)).read_all() for path in sorted(folder.glob("numbers-*.arrow"))]


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no shard train-\*\.arrow"):
        open_table(tmp_path, "train")


@pytest.mark.parametrize("damage", [b"", b"not Arrow at all", None])
def test_a_damaged_shard_is_named(tmp_path: Path, damage: bytes | None) -> None:
    write(tmp_path, "numbers", [{"number": 1}], SCHEMA)
    path = tmp_path / "numbers-00000.arrow"
    path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    with pytest.raises(ShardError, match=r"numbers-00000\.arrow: not a readable Arrow file"):
        open_table(tmp_path, "numbers")


def test_a_failed_writer_leaves_only_whole_shards_and_the_next_one_goes_on_there(tmp_path: Path) -> None:
    def rows(start: int, broken: int) -> Iterator[dict[str, int]]:
        yield from ({"number": 1 // (number != broken) and number} for number in range(start, 30))

    with pytest.raises(ZeroDivisionError):
        write(tmp_path, "numbers", rows(0, 21), SCHEMA)
    assert finished_shards(tmp_path, "numbers") == [8, 8]
    assert write(tmp_path, "numbers", rows(16, -1), SCHEMA) == 30
    assert [row["number"] for row in read(tmp_path, "numbers")] == list(range(30))
    (tmp_path / "whole").mkdir()
    write(tmp_path / "whole", "numbers", rows(0, -1), SCHEMA)
    for one, two in zip(paths(tmp_path, "numbers"), paths(tmp_path / "whole", "numbers"), strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_nothing_comes_after_a_short_last_shard(tmp_path: Path) -> None:
    write(tmp_path, "numbers", [{"number": 1}], SCHEMA)
    with pytest.raises(ShardError, match=r"numbers-\* are finished, and there are more rows"):
        write(tmp_path, "numbers", [{"number": 2}], SCHEMA)


def test_records_can_be_read_from_any_row_on(tmp_path: Path) -> None:
    records = [record(number) for number in range(20)]
    write_records(tmp_path, records)
    for start in (0, 3, 8, 17, 20, 25):
        assert list(read_records(tmp_path, start=start)) == records[start:]
