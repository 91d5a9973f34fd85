from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vlp.data.sources import huggingface
from vlp.params import ParamsError, parse
from vlp.records import Caption, Question, Record


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(buffer, format="PNG")
    return buffer.getvalue()


RED, BLUE = png("red"), png("blue")
FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["warm", "cold"]),
        "more": {"page": datasets.Value("int64")},
        "spare": datasets.Value("string"),
    }
)
COLUMNS = {
    "image": [{"bytes": RED, "path": "raw/red.png"}, {"bytes": BLUE, "path": None}],
    "text": ["a red field", "a blue field"],
    "label": [0, 1],
    "more": [{"page": 1}, {"page": None}],
    "spare": ["x", "y"],
}
MAPPING = {"captions": ["text"], "labels": "label", "group": "more.page"}


def dataset() -> datasets.Dataset:
    return datasets.Dataset.from_dict(COLUMNS, features=FEATURES)


def params(**changes: Any) -> huggingface.Params:
    return parse(huggingface.Params, changes, "sources.huggingface")


def read(root: Path, **changes: Any) -> list[Record]:
    return list(huggingface.read(root, params(**changes), 0))


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_what_the_library_wrote_is_read_by_the_mapping(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    if kind == "folder":
        dataset().save_to_disk(tmp_path / "set")
        place: dict[str, Any] = {"folder": "set"}
    else:
        dataset().to_parquet(tmp_path / "a.parquet")
        place = {"files": {"any": ["*.parquet"]}}
    with caplog.at_level(logging.WARNING):
        first, second = read(tmp_path, **place, **MAPPING)
    assert first == Record(
        id=first.id,
        image=RED,
        image_name="red.png",
        captions=(Caption(text="a red field"),),
        group="1",
        labels=("warm",),
    )
    assert (second.image, second.labels, second.group) == (BLUE, ("cold",), second.id)
    assert first.id.endswith(":1")
    assert "ignored columns: 'spare'" in caplog.text or "ignored columns: spare" in caplog.text


def test_the_parts_of_a_dictionary_are_the_official_splits(tmp_path: Path) -> None:
    parts = {"train": dataset(), "val": dataset(), "extra": dataset()}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "set")
    found = read(tmp_path, folder="set", splits={"extra": "any"}, **MAPPING)
    assert [record.split for record in found] == ["train"] * 2 + ["validation"] * 2 + [None] * 2
    left = read(tmp_path, folder="set", splits={"extra": "none", "val": "test"}, **MAPPING)
    assert [record.split for record in left] == ["train"] * 2 + ["test"] * 2


def test_a_split_of_an_unknown_name_is_not_shared_out_in_silence(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": dataset(), "test_hard": dataset()}).save_to_disk(tmp_path / "set")
    with pytest.raises(ValueError, match=r"set/test_hard: is the split 'test_hard' train, .*\? Say it in splits"):
        read(tmp_path, folder="set", **MAPPING)


def test_parquet_files_belong_to_the_split_that_lists_them(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        dataset().to_parquet(tmp_path / "data" / f"{name}.parquet")
    files = {"train": ["data/train-*.parquet"], "test": ["data/test-*.parquet"]}
    found = read(tmp_path, files=files, **MAPPING)
    assert [record.split for record in found] == ["train"] * 4 + ["test"] * 2


def test_what_each_person_answered_is_kept(tmp_path: Path) -> None:
    """VQA v2 as it is often packed: a list of objects beside the answer that counts."""
    people = [{"answer": "red", "answer_id": 1}, {"answer": "dark red", "answer_id": 2}]
    table = {"image": [RED, BLUE], "q": ["what colour?"] * 2, "a": ["red", "blue"], "people": [people, []]}
    pq.write_table(pa.table(table), tmp_path / "vqa.parquet")
    first, second = read(tmp_path, files={"any": ["vqa.parquet"]}, question="q", answer="a", answers="people.answer")
    assert first.questions == (Question(text="what colour?", answer="red", type="other", given=("red", "dark red")),)
    assert second.questions == (Question(text="what colour?", answer="blue", type="other"),)


def test_rows_of_one_image_that_follow_one_another_are_one_record(tmp_path: Path) -> None:
    rows = [
        (RED, "what colour?", "red"),
        (RED, "is it red?", "yes"),
        (BLUE, "is it red?", "no"),
        (RED, "how many?", "1"),
    ]
    table = {"image": [image for image, _, _ in rows], "q": [q for _, q, _ in rows], "a": [a for _, _, a in rows]}
    pq.write_table(pa.table(table), tmp_path / "vqa.parquet")
    found = read(tmp_path, files={"any": ["vqa.parquet"]}, question="q", answer="a", caption_template="{q} {a}")
    assert [record.id for record in found] == ["vqa.parquet:1", "vqa.parquet:3", "vqa.parquet:4"]
    assert found[0].questions == (
        Question(text="what colour?", answer="red", type="other"),
        Question(text="is it red?", answer="yes", type="yes/no"),
    )
    assert [caption.text for caption in found[0].captions] == ["what colour? red", "is it red? yes"]


def test_an_image_may_be_a_path_below_the_root_and_no_other(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "red.png").write_bytes(RED)
    (tmp_path / "secret.png").write_bytes(BLUE)
    paths = ["red.png", "../secret.png", str(tmp_path / "secret.png"), None, "missing.png"]
    pq.write_table(pa.table({"image": paths, "text": list("abcde")}), root / "t.parquet")
    good, *bad = read(root, files={"any": ["t.parquet"]}, captions=["text"])
    assert (good.image, good.image_name, good.fault) == (RED, "red.png", None)
    assert [record.image for record in bad] == [b""] * 4
    assert [(record.fault or "").split(": ", 2)[2] for record in bad] == [
        "'../secret.png': not a path below the root",
        f"{str(tmp_path / 'secret.png')!r}: not a path below the root",
        "no image",
        f"'missing.png': no such file below {root}",
    ]


def test_a_broken_row_or_file_costs_itself_and_says_so(tmp_path: Path) -> None:
    features = datasets.Features({**FEATURES, "split": datasets.Value("string")})
    columns = {**COLUMNS, "split": ["train", "holdout"]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    good, bad, cut = read(tmp_path, files={"any": ["?.parquet"]}, **MAPPING, split="split", max_bytes=1000)
    assert (good.split, good.fault) == ("train", None)
    assert bad.fault == "a.parquet:2: column 'split': split 'holdout' is none of train, validation, test"
    assert (cut.fault or "").startswith("b.parquet: ") and "0 rows were read" in (cut.fault or "")
    small = read(tmp_path, files={"any": ["a.parquet"]}, captions=["text"], max_bytes=10)
    assert all("more than 10" in (record.fault or "") for record in small)


@pytest.mark.parametrize("name", ["t.arrow", "t.parquet"])
def test_a_cell_that_python_cannot_hold_costs_its_row_if_it_is_mapped(tmp_path: Path, name: str) -> None:
    images = pa.array([RED, RED, RED, BLUE])
    text = pa.array([b"one", b"\xff", b"three", b"four"]).view(pa.string())
    day = pa.array([2**31 - 1] * 4, pa.int32()).view(pa.date32())
    table = pa.table({"image": images, "text": text, "day": day})
    if name == "t.parquet":
        pq.write_table(table, tmp_path / name)
    else:
        with pa.OSFile(str(tmp_path / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    bad, red, blue = read(tmp_path, files={"any": [name]}, captions=["text"])
    assert (bad.fault or "").startswith(f"{name}:2: column 'text': cannot be read as string ('utf-8' codec")
    assert [caption.text for caption in red.captions] == ["one", "three"]
    assert (blue.fault, [caption.text for caption in blue.captions]) == (None, ["four"])
    assert [record.fault for record in read(tmp_path, files={"any": [name]})] == [None, None]


def test_the_hub_is_a_remote_that_must_be_named_and_reached(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"hf://datasets/nobody/nothing@~parquet: "):
        read(tmp_path, remote="hf://datasets/nobody/nothing@~parquet", files={"any": ["*.parquet"]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "name folder, or files"),
        ({"folder": "a", "files": {"any": ["b"]}}, "name folder, or files"),
        ({"files": {"all": ["b"]}}, "files"),
    ],
)
def test_a_place_must_be_named_once(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError) as error:
        params(**changes)
    assert message in str(error.value)


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_columns_inside_columns_are_read_by_their_path(tmp_path: Path, kind: str) -> None:
    things = {
        "category": datasets.Sequence(datasets.ClassLabel(names=["mask", "gloves"])),
        "area": [datasets.Value("int64")],
    }
    features = datasets.Features(
        {"sample": {"image": datasets.Image(), "text": datasets.Value("string")}, "objects": things}
    )
    rows = {
        "sample": [{"image": {"bytes": RED, "path": "raw/red.png"}, "text": "a red field"}],
        "objects": [{"category": [1, -1, 0], "area": [1, 2, 3]}],
    }
    data = datasets.Dataset.from_dict(rows, features=features)
    if kind == "folder":
        data.save_to_disk(tmp_path / "set")
        place: dict[str, Any] = {"folder": "set"}
    else:
        data.to_parquet(tmp_path / "a.parquet")
        place = {"files": {"any": ["*.parquet"]}}
    (found,) = read(tmp_path, **place, image="sample.image", captions=["sample.text"], labels="objects.category")
    assert (found.fault, found.image, found.image_name) == (None, RED, "red.png")
    assert found.captions == (Caption(text="a red field"),)
    assert found.labels == ("gloves", "mask"), "-1 is no class"


def test_a_column_of_many_things_gives_what_is_asked_of_each(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["mask", "coverall", "gloves"])
    things = [{"category": names, "area": datasets.Value("int32")}]
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string"), "things": things})
    each = [{"category": 2, "area": 1}, {"category": -1, "area": 2}, {"category": 0, "area": 3}]
    rows = {"image": [{"bytes": RED, "path": "red.png"}], "text": ["a red field"], "things": [each]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    (found,) = read(tmp_path, files={"any": ["*.parquet"]}, image="image", captions=["text"], labels="things.category")
    assert (found.fault, found.labels) == (None, ("gloves", "mask"))
