from __future__ import annotations

import io
import json
import logging
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from vlp.data.sources import webdataset
from vlp.params import parse
from vlp.records import Caption, Question, Record

SAMPLES: list[dict[str, Any]] = [
    {"__key__": "0001", "jpg": b"one", "txt": "a cat", "json": {"names": ["one cat", "a tom"], "page": 3}, "cls": 5},
    {"__key__": "0002", "png": b"two", "txt": "zwei Hühner", "json": {"page": None}},
]


def packed_field(name: str, value: Any) -> Any:
    if name == "json":
        return json.dumps(value).encode()
    return str(value).encode() if name in ("txt", "cls") else value


def shard(path: Path, *samples: dict[str, Any]) -> None:
    """Written as the format's own package writes it; images as they are."""
    from webdataset import TarWriter  # here, for it loads torch and only one worker runs this file

    path.parent.mkdir(parents=True, exist_ok=True)
    packed = [{name: packed_field(name, value) for name, value in sample.items()} for sample in samples]
    buffer = io.BytesIO()
    with TarWriter(buffer, encoder=False) as writer:
        for sample in packed:
            writer.write(sample)
    path.write_bytes(buffer.getvalue())


def params(**changes: Any) -> webdataset.Params:
    return parse(webdataset.Params, {"shards": {"any": ["*.tar"]}, **changes}, "sources.webdataset")


def read(root: Path, **changes: Any) -> list[Record]:
    return list(webdataset.read(root, params(**changes), 0))


def test_a_sample_is_a_record_by_the_mapping(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shard(tmp_path / "0.tar", *SAMPLES)
    with caplog.at_level(logging.WARNING):
        first, second = read(tmp_path, captions=["txt", "json.names"], group="json.page")
    assert first == Record(
        id="0.tar:0001",
        image=b"one",
        image_name="0001.jpg",
        captions=(Caption(text="a cat"), Caption(text="one cat"), Caption(text="a tom")),
        group="3",
    )
    assert (second.image_name, second.captions[0].text, second.group) == ("0002.png", "zwei Hühner", "0.tar:0002")
    assert "ignored columns" in caplog.text and "cls" in caplog.text and "__" not in caplog.text


def test_the_picture_s_field_may_be_one_alone(tmp_path: Path) -> None:
    """And is no text, whatever its bytes."""
    shard(tmp_path / "0.tar", {"__key__": "1", "png": b"\x89PNG", "txt": "a cat"})
    (record,) = read(tmp_path, image="png", captions=["txt"])
    assert (record.fault, record.image, record.image_name) == (None, b"\x89PNG", "1.png")


def test_keys_of_a_field_whose_name_has_a_dot_can_be_mapped(tmp_path: Path) -> None:
    described = json.dumps({"caption": {"en": "a cat"}}).encode()
    shard(tmp_path / "0.tar", {"__key__": "1", "jpg": b"1", "meta.json": described})
    (record,) = read(tmp_path, captions=["meta.json.caption.en"])
    assert record.captions == (Caption(text="a cat"),)


def test_labels_questions_and_templates_come_from_fields_too(tmp_path: Path) -> None:
    shard(tmp_path / "0.tar", {"__key__": "a", "jpg": b"a", "cls": 5, "json": {"q": "how many?", "a": 2}})
    (record,) = read(
        tmp_path, labels="cls", question="json.q", answer="json.a", caption_template="{json.q} {json.a}", id="__key__"
    )
    assert (record.id, record.labels, record.questions) == (
        "a",
        ("5",),
        (Question(text="how many?", answer="2", type="number"),),
    )
    assert [caption.text for caption in record.captions] == ["how many? 2"]


def test_shards_come_in_the_order_of_their_patterns_with_their_split(tmp_path: Path) -> None:
    for name in ("b/train-08", "b/train-09", "b/train-10", "c/val-0"):
        shard(tmp_path / f"{name}.tar", {"__key__": name[-2:], "jpg": b"x", "txt": "a"})
    found = read(tmp_path, shards={"test": ["c/*.tar"], "train": ["b/train-{09..10}.tar"]}, captions=["txt"])
    assert [(record.split, record.id) for record in found] == [
        ("test", "c/val-0.tar:-0"),
        ("train", "b/train-09.tar:09"),
        ("train", "b/train-10.tar:10"),
    ]


def test_a_broken_sample_or_shard_costs_itself_and_says_so(tmp_path: Path) -> None:
    shard(
        tmp_path / "0.tar",
        {"__key__": "bad", "jpg": b"a", "bin": b"\xff\xfe\xfa"},
        {"__key__": "none", "bin": b"text"},
        {"__key__": "good", "jpg": b"g", "bin": b"text"},
    )
    shard(tmp_path / "1.tar", {"__key__": "cut", "jpg": b"c" * 3000})
    (tmp_path / "1.tar").write_bytes((tmp_path / "1.tar").read_bytes()[:2000])
    (tmp_path / "2.tar").write_bytes(b"")
    (tmp_path / "3.tar").mkdir()
    (tmp_path / "3.tar" / "in.tar").symlink_to("/etc/hostname")
    found = read(tmp_path, captions=["bin"], shards={"any": ["{0..3}.tar", "3.tar/in.tar"]})
    assert [record.id for record in found if record.fault is None] == ["0.tar:good"]
    faults = [record.fault or "" for record in found if record.fault]
    assert faults[0].startswith("0.tar:bad: field 'bin': not UTF-8")
    assert faults[1] == "0.tar:none: no image: the fields are bin"
    assert faults[2].startswith("1.tar: damaged or cut short after sample 'cut': ")
    assert faults[3].startswith("2.tar: damaged or cut short: ")
    assert faults[4].startswith("3.tar: no such file")
    assert faults[5].startswith("3.tar/in.tar: a link that leaves the root")


def test_shards_stream_over_http(tmp_path: Path) -> None:
    shard(tmp_path / "data" / "s-0.tar", *SAMPLES)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        remote = f"http://127.0.0.1:{server.server_port}/data"
        found = read(tmp_path / "nowhere", remote=remote, shards={"any": ["s-{0..1}.tar"]}, captions=["txt"])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert [record.image for record in found] == [b"one", b"two", b""]
    assert (found[2].fault or "").startswith("s-1.tar: no such file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"captions": ["text"]}, "no column 'text'; did you mean 'txt'?"),
        ({"shards": {"any": ["*.tgz"]}}, "no file matches '*.tgz'"),
        ({"shards": {"any": ["{9..1}.tar"]}}, "a range goes up"),
        ({"shards": {}}, "shards"),
        ({"shards": {"val": ["*.tar"]}}, "shards"),
    ],
)
def test_a_mapping_that_fits_no_sample_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    shard(tmp_path / "0.tar", *SAMPLES)
    with pytest.raises(ValueError, match=r".") as error:
        read(tmp_path, **changes)
    assert message in str(error.value)


def test_the_name_of_a_refusal_is_no_key_of_another_sample(tmp_path: Path) -> None:
    shard(tmp_path / "0.tar", *({"__key__": key, "jpg": b"x", "txt": "a"} for key in ("1", "2", "1", "3")))
    found = read(tmp_path, captions=["txt"])
    assert [record.id for record in found] == ["0.tar:1", "0.tar:2", "0.tar#3", "0.tar:3"]
    assert [record.fault is None for record in found] == [True, True, False, True]
