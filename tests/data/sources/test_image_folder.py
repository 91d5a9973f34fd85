from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import fsspec
import pytest

from vlp.data.shards import read_records, write_records
from vlp.data.sources import image_folder
from vlp.params import ParamsError, parse
from vlp.records import Caption, Record


def params(**changes: Any) -> image_folder.Params:
    return parse(image_folder.Params, changes, "sources.image_folder")


def fill(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def read(root: Path, **changes: Any) -> list[Record]:
    return list(image_folder.read(root, params(**changes), 1))


def test_a_picture_is_labelled_by_its_folder_and_captioned_by_the_prompts(tmp_path: Path) -> None:
    fill(tmp_path, "sea_eagle/deep/2.jpg", "cat/1.PNG")
    cat, eagle = read(tmp_path, prompts=["a photo of {a_label}", "{label}, outdoors"])
    assert cat == Record(
        id="cat/1.PNG",
        image=b"cat/1.PNG",
        image_name="1.PNG",
        captions=(
            Caption(text="a photo of a cat", negative="a photo of a sea eagle", kind="class"),
            Caption(text="cat, outdoors", negative="sea eagle, outdoors", kind="class"),
        ),
        group="cat/1.PNG",
        labels=("cat",),
    )
    assert (eagle.labels, eagle.captions[0].text) == (("sea eagle",), "a photo of a sea eagle")


def test_two_folders_of_one_class_are_no_false_twins_of_each_other(tmp_path: Path) -> None:
    fill(tmp_path, "n1/a.jpg", "n2/b.jpg")
    (tmp_path / "names.json").write_text(json.dumps({"n1": "crane", "n2": "crane"}), encoding="utf-8")
    for record in read(tmp_path, class_names="names.json"):
        assert (record.labels, record.captions[0].negative) == (("crane",), None)


def test_folders_at_the_top_may_be_the_official_splits(tmp_path: Path) -> None:
    fill(tmp_path, "Train/cat/1.jpg", "val/cat/2.jpg", "test/dog/3.jpg")
    found = {record.image_name: (record.split, record.labels) for record in read(tmp_path, split_folders=True)}
    assert found == {"1.jpg": ("train", ("cat",)), "2.jpg": ("validation", ("cat",)), "3.jpg": ("test", ("dog",))}
    fill(tmp_path, "more/dog/4.jpg")
    with pytest.raises(ValueError, match=r"the folder 'more' is none of train"):
        read(tmp_path, split_folders=True)


def test_a_pattern_keeps_the_pictures_of_one_thing_together(tmp_path: Path) -> None:
    fill(tmp_path, "cat/tom_1.jpg", "cat/tom_2.jpg", "cat/other.jpg")
    other, *tom = read(tmp_path, group_pattern=r"/(\w+)_\d+\.")
    assert ([record.group for record in tom], other.group) == (["tom", "tom"], "cat/other.jpg")


def test_what_is_ignored_is_counted_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, "cat/1.jpg", "cat/.DS_Store", "cat/notes.txt", "cat/README", "loose.png", "cat/b.svg")
    with caplog.at_level(logging.WARNING):
        assert len(read(tmp_path)) == 1
    assert (
        "ignored files: .svg (1), .txt (1), hidden (1), no extension (1), outside any class folder (1)" in caplog.text
    )


def test_what_lies_in_a_hidden_folder_is_no_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, "cat/1.jpg", "cat/.thumbs/1.jpg", "dog/2.jpg", ".ipynb_checkpoints/x.jpg")
    with caplog.at_level(logging.WARNING):
        found = read(tmp_path)
    assert [record.id for record in found] == ["cat/1.jpg", "dog/2.jpg"]
    assert [record.captions[0].negative for record in found] == ["a photo of a dog", "a photo of a cat"]
    assert "ignored files: hidden (2)" in caplog.text
    fill(tmp_path / "splits", "train/cat/1.jpg", ".cache/cat/2.jpg")
    assert [record.id for record in read(tmp_path / "splits", split_folders=True)] == ["train/cat/1.jpg"]


def test_hostile_entries_cost_only_themselves(tmp_path: Path) -> None:
    root = tmp_path / "root"
    fill(root, "cat/good.jpg", "cat/folder.jpg/in.jpg")
    (root / "cat" / "empty.jpg").touch()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "cat" / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "cat" / "loop.jpg").symlink_to("loop.jpg")
    (root / "up").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(root / "cat" / "pipe.jpg")
    (root / "cat" / "large.jpg").write_bytes(bytes(1001))
    found = {record.image_name: (record.image, record.fault or "") for record in read(root, max_bytes=1000)}
    assert found.pop("good.jpg") == (b"cat/good.jpg", "")
    assert found.pop("in.jpg") == (b"cat/folder.jpg/in.jpg", "")
    assert found.pop("empty.jpg") == (b"", ""), "validation says that it is empty"
    assert all(image == b"" for image, _ in found.values())
    said = {name: fault.split(": ", 1)[1] for name, (_, fault) in found.items()}
    assert said["out.jpg"] == "a link that leaves the root"
    assert said["pipe.jpg"].startswith("no such file")
    assert said["large.jpg"].startswith("more than 1000 bytes")
    assert said["loop.jpg"]
    assert set(said) == {"out.jpg", "pipe.jpg", "large.jpg", "loop.jpg"}


def test_a_name_that_is_no_text_is_refused_and_can_be_written_down(tmp_path: Path) -> None:
    fill(tmp_path / "root", "cat/good.jpg")
    for raw in (b"root/cat/\xff.jpg", b"root/\xfe/1.jpg"):
        path = os.fsencode(tmp_path) + b"/" + raw
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(path, "wb") as file:
            file.write(b"x")
    (tmp_path / "out").mkdir()
    assert write_records(tmp_path / "out", read(tmp_path / "root")) == 3
    found = {record.id: record.fault for record in read_records(tmp_path / "out")}
    assert found.pop("cat/good.jpg") is None
    assert all("the path is not UTF-8" in (fault or "") for fault in found.values())


def test_a_remote_is_read_where_it_is_named(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("cat/1.jpg", "dog/2.jpg"):
        memory.pipe(f"/bucket/pictures/{name}", name.encode())
    records = read(tmp_path / "nowhere", remote="memory://bucket/pictures")
    assert [(record.id, record.image, record.labels) for record in records] == [
        ("cat/1.jpg", b"cat/1.jpg", ("cat",)),
        ("dog/2.jpg", b"dog/2.jpg", ("dog",)),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": ["a photo"]}, "expected {label} or {a_label} in 'a photo'"),
        ({"group_pattern": "("}, "not a regular expression"),
        ({"group_pattern": "a"}, "expected a group in parentheses"),
        ({"remote": "bucket/pictures"}, "remote: string should match pattern"),
    ],
)
def test_a_parameter_that_cannot_be_is_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=r"sources\.image_folder") as error:
        params(**change)
    assert message in str(error.value)


def test_a_root_without_class_folders_says_what_is_expected(tmp_path: Path) -> None:
    fill(tmp_path, "1.jpg")
    with pytest.raises(ValueError, match="expected <root>/<class>/<picture>"):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"no such folder; set ingest\.root"):
        read(tmp_path / "missing")
