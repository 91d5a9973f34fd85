from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa

from vlp.data import shards
from vlp.data.engines.local import Engine
from vlp.data.preparation import Slice
from vlp.records import Caption, Record


def texts(rows: pa.Table, fates: list[int]) -> Counter[str]:
    return Counter(record.captions[0].text for record in shards.records_of(rows) for _ in range(fates[0]))


def test_parts_are_read_from_their_shards_and_come_back_in_order(tmp_path: Path) -> None:
    records = [
        Record(id=f"r{n}", image=b"", image_name="", captions=(Caption(text=f"t{n}"),), group="g") for n in range(6)
    ]
    shards.write_records(tmp_path, records)
    (path,) = shards.paths(tmp_path, "records")
    parts = [(Slice(path, start, 2, start), [start]) for start in (0, 2, 4)]
    with Engine() as workers:
        found = list(workers.map(texts, iter(parts)))
    assert found == [Counter(), Counter(t2=2, t3=2), Counter(t4=4, t5=4)]
