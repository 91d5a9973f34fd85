from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vlp.data.huggingface.tables import Features, File, TableError, rows, saved_files
from vlp.data.raw.columns import RowError
from vlp.data.raw.root import Local


def schema(features: Any) -> pa.Schema:
    metadata = {"huggingface": features if isinstance(features, str) else json.dumps({"info": {"features": features}})}
    return pa.schema([pa.field("label", pa.int64())], metadata=metadata)


LABEL = {"names": ["cat", "dog"], "_type": "ClassLabel"}


@pytest.mark.parametrize("feature", [LABEL, [LABEL], {"feature": LABEL, "_type": "List"}])
def test_numbers_of_classes_become_their_names(feature: Any) -> None:
    features = Features()
    features.add(schema({"label": feature, "text": {"dtype": "string", "_type": "Value"}}))
    assert features.named({"label": 1, "text": "1"}) == {"label": "dog", "text": "1"}
    assert features.named({"label": [0, 1, -1]}) == {"label": ["cat", "dog"]}
    assert features.named({"label": -1}) == {"label": None} == features.named({"label": None})
    with pytest.raises(RowError, match="class 2 of 2"):
        features.named({"label": 2})


def test_classes_inside_a_structure_go_by_their_path() -> None:
    features = Features()
    parts = {"category": LABEL, "area": {"dtype": "int64", "_type": "Value"}, "odd": 7}
    features.add(schema({"objects": {"feature": parts, "_type": "Sequence"}, "more": {"kinds": [LABEL]}}))
    assert features.named({"objects.category": [1, -1, 0]}) == {"objects.category": ["dog", "cat"]}
    assert features.named({"more.kinds": [1], "objects.area": [3]}) == {"more.kinds": ["dog"], "objects.area": [3]}
    with pytest.raises(RowError, match=r"column 'objects.category': class 2 of 2"):
        features.named({"objects.category": [2]})


@pytest.mark.parametrize("said", ["{", "[1]", '{"info": 1}', '{"info": {"features": {"label": 7}}}', "[" * 50_000])
def test_features_that_cannot_be_read_are_an_error(said: str) -> None:
    with pytest.raises(TableError, match="features"):
        Features().add(schema(said))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither dataset_dict.json nor state.json"),
        ({"state.json": "["}, "state.json: not valid JSON"),
        ({"state.json": "[]"}, "expected an object"),
        ({"state.json": "{}"}, "no list _data_files"),
        ({"state.json": '{"_data_files": [{"filename": 1}]}'}, "expected a list of names"),
        ({"state.json": '{"_data_files": [], "_indices_data_files": [{"filename": "i"}]}'}, "flatten_indices"),
        ({"dataset_dict.json": '{"splits": "train"}'}, "expected a list of names"),
    ],
)
def test_a_folder_that_save_to_disk_did_not_write_is_one_line(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(TableError) as error:
        saved_files(Local(tmp_path), "", {})
    assert message in str(error.value)


def test_a_name_in_the_state_does_not_lead_out_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "state.json").write_text(
        '{"_data_files": [{"filename": "../../secret.arrow"}]}', encoding="utf-8"
    )
    (found,) = saved_files(Local(tmp_path), "in", {})
    assert found == File("in/../../secret.arrow")
    with pytest.raises(TableError, match="not a path below the root"):
        list(rows(Local(tmp_path), found.name, ["a"], Features()))


TABLE = pa.table({"image": [b"one", b"two", None], "text": ["a", "b", "c"], "tags": [["x"], [], None]})


def written(path: Path) -> bytes:
    if path.suffix == ".parquet":
        pq.write_table(TABLE, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, TABLE.schema) as stream:
            stream.write_table(TABLE)
    return path.read_bytes()


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8),
    st.sampled_from(["t.arrow", "t.parquet"]),
)
@example([(300, 127)], "t.arrow")  # a length that asks for more memory than there is
def test_damaged_files_are_rows_or_a_table_error(tmp_path: Path, changes: list[tuple[int, int]], name: str) -> None:
    data = bytearray(written(tmp_path / name))
    for place, value in changes:
        data[place % len(data)] = value
    (tmp_path / name).write_bytes(data)
    try:
        found = list(rows(Local(tmp_path), name, ["image", "text", "tags"], Features()))
    except TableError:
        return
    assert changes or [row.cells for row in found] == TABLE.to_pylist()
