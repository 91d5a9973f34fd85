from __future__ import annotations

import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vlp.data.shards import read_records, write_records
from vlp.data.sources import manifest
from vlp.params import ParamsError, parse
from vlp.records import Caption, Question, Record


def params(**changes: Any) -> manifest.Params:
    return parse(manifest.Params, {"file": "pairs.jsonl", "image": "image", **changes}, "sources.manifest")


def png(color: object = "red", mode: str = "RGB", size: tuple[int, int] = (3, 2)) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, format="PNG")  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    (folder / "images").mkdir(parents=True)
    for name in "abc":
        (folder / "images" / f"{name}.png").write_bytes(png())
    return folder


def write(root: Path, *rows: object, name: str = "pairs.jsonl") -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(root: Path, seed: int = 0, **changes: Any) -> list[Record]:
    return list(manifest.read(root, params(**changes), seed))


def captions(record: Record) -> list[str]:
    return [caption.text for caption in record.captions]


TABLE = [
    {"image": "images/a.png", "text": "a red, wide box"},
    {"image": "images/b.png", "text": 'one "box"\non two lines'},
]


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.csv", "pairs.TSV", "pairs.Parquet"])
def test_every_kind_of_table_gives_the_same_records(root: Path, name: str) -> None:
    if name.endswith("Parquet"):
        pq.write_table(pa.Table.from_pylist(TABLE), root / name)
    elif name.endswith("jsonl"):
        write(root, *TABLE)
    else:
        mark = "," if name.endswith("csv") else "\t"
        quoted = [f'{row["image"]}{mark}"{row["text"].replace(chr(34), chr(34) * 2)}"' for row in TABLE]
        write(root, f"image{mark}text", *quoted, name=name)
    first, second = read(root, file=name, captions=["text"])
    assert first == Record(
        id="images/a.png",
        image=(root / "images/a.png").read_bytes(),
        image_name="a.png",
        captions=(Caption(text="a red, wide box"),),
        group="images/a.png",
    )
    assert captions(second) == ['one "box"\non two lines']


def test_columns_fill_the_fields_that_they_are_mapped_to(root: Path) -> None:
    row = {"image": "images/a.png", "key": 17, "base": "boxes", "part": "val", "tags": "red; big ;", "q": "how many?"}
    write(root, {**row, "a": 3, "names": ["a box", "one box"], "wrong": ["a ball"]})
    mapping = {"id": "key", "group": "base", "split": "part", "labels": "tags", "labels_separator": ";"}
    (record,) = read(root, **mapping, question="q", answer="a", captions=["names"], negative="wrong")
    assert (record.id, record.group, record.split) == ("17", "boxes", "validation")
    assert record.labels == ("red", "big")
    assert record.questions == (Question(text="how many?", answer="3", type="number"),)
    assert record.captions == (Caption(text="a box", negative="a ball"), Caption(text="one box"))


def test_answers_are_labels_where_they_name_something(root: Path) -> None:
    rows = [("circle?", "yes"), ("what shape?", "circle"), ("what colour?", "red"), ("which shape?", "circle")]
    write(root, *({"image": "images/a.png", "q": q, "a": a} for q, a in rows))
    (record,) = read(root, question="q", answer="a", labels="a", labels_except=["yes", "no"])
    assert record.labels == ("circle", "red")
    assert [question.answer for question in record.questions] == ["yes", "circle", "red", "circle"]


def test_a_dotted_name_reaches_into_a_column(root: Path) -> None:
    write(root, {"image": "images/a.png", "names": {"de": "Kiste", "fr": "boîte"}})
    (record,) = read(root, captions=["names.fr", "names.zh"])
    assert captions(record) == ["boîte"]


def test_rows_of_one_image_are_one_record_wherever_they_stand(root: Path) -> None:
    rows = [("a", "circle?", "yes"), ("b", "circle?", "no"), ("a", "what shape?", "circle"), ("c", "circle?", "no")]
    write(root, *({"image": f"./images/{i}.png", "q": q, "a": a, "text": "a box"} for i, q, a in rows))
    records = read(root, question="q", answer="a", captions=["text"])
    assert [record.id for record in records] == ["images/b.png", "images/a.png", "images/c.png"]
    a = records[1]
    assert [(question.text, question.answer, question.type) for question in a.questions] == [
        ("circle?", "yes", "yes/no"),
        ("what shape?", "circle", "other"),
    ]
    assert captions(a) == ["a box"], "a caption that the joined table repeats is one caption"


def test_an_image_in_two_splits_keeps_the_first_and_refuses_the_other_row(root: Path) -> None:
    write(root, {"image": "images/a.png", "part": "train"}, {"image": "images/a.png", "part": "test"})
    refused, kept = read(root, split="part")
    assert kept.split == "train"
    assert kept.fault is None
    assert refused.fault == "pairs.jsonl:2: split 'test', but line 1 says 'train' of the same image"


def test_alpha_becomes_the_region_of_the_first_caption(root: Path) -> None:
    picture = Image.new("RGBA", (3, 2), (255, 0, 0, 0))
    picture.putpixel((2, 1), (255, 0, 0, 255))
    picture.putpixel((1, 1), (255, 0, 0, 127))
    picture.save(root / "images/a.png")
    (root / "images/c.png").write_bytes(b"no picture")
    write(root, *({"image": f"images/{name}.png", "text": "a dot"} for name in "abc"))
    drawn, opaque, broken = read(root, captions=["text"], regions_from_alpha=True)
    (region,) = drawn.regions
    mask = Image.open(io.BytesIO(region.mask))
    assert (region.expression, mask.mode, mask.size) == ("a dot", "L", (3, 2))
    assert mask.tobytes() == bytes([0, 0, 0, 0, 0, 255])
    assert opaque.regions == () == broken.regions
    assert broken.image == b"no picture"
    assert broken.fault is None, "what does not decode is judged by validation"


BROKEN_ROWS = {
    '{"image": "images/b.png"': "not valid JSON",
    "[" * 100_000: "not valid JSON",
    '["images/b.png"]': "expected a JSON object, found list",
    '{"text": "a box"}': "column 'image': no image",
    '{"image": null, "text": "a box"}': "column 'image': no image",
    '{"image": ["images/b.png"], "text": "a box"}': "column 'image': expected text, found list",
    '{"image": "images/b.png", "text": {"en": "a box"}}': "column 'text': expected text, found dict",
    r'{"image": "images/b.png", "text": "\ud83d"}': "half a character",
    '{"image": "images/b.png", "part": "holdout"}': "split 'holdout' is none of train, validation, test",
    '{"image": "images/b.png", "q": "how many?"}': "column 'a': question or answer is missing",
    '{"image": "images/b.png", "text": "a box", "wrong": ["x", "y"]}': "2 negatives for 1 captions",
}


@pytest.mark.parametrize(("row", "problem"), BROKEN_ROWS.items())
def test_a_broken_row_is_a_record_that_says_where_and_why(root: Path, row: str, problem: str) -> None:
    good = {"image": "images/a.png", "text": "a box", "part": "train", "q": "how?", "a": "so", "wrong": "a ball"}
    write(root, good, row, {**good, "image": "images/c.png"})
    mapping = {"split": "part", "question": "q", "answer": "a", "captions": ["text"], "negative": "wrong"}
    before, broken, after = read(root, **mapping)
    assert (before.id, broken.id, after.id) == ("images/a.png", "pairs.jsonl:2", "images/c.png")
    assert broken.image == b""
    assert (broken.fault or "").startswith("pairs.jsonl:2: ")
    assert problem in (broken.fault or "")


def test_a_broken_row_of_an_image_does_not_take_its_other_rows_along(root: Path) -> None:
    rows = [{"image": "images/a.png", "text": text} for text in ("one", ["two", {}], "three")]
    write(root, *rows)
    broken, whole = read(root, captions=["text"])
    assert broken.fault is not None
    assert captions(whole) == ["one", "three"]


def unreadable(root: Path) -> Iterator[tuple[str, str]]:
    outside = root.parent / "secret.png"
    outside.write_bytes(png())
    (root / "link.png").symlink_to(outside)
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "inner.png").symlink_to(root / "images/a.png")
    os.mkfifo(root / "pipe.png")
    with (root / "huge.png").open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    yield "../secret.png", "not a path below the root"
    yield "images/../../secret.png", "not a path below the root"
    yield str(outside), "not a path below the root"
    yield "link.png", "a link that leaves the root"
    yield "loop.png", "loop.png"
    yield "pipe.png", "no such file"
    yield "images", "no such file"
    yield "images/z.png", "no such file"
    yield "a\0b.png", "not a path below the root"
    yield "x" * 5000, "cannot be read"
    yield "huge.png", "more than"


def test_an_image_that_cannot_be_read_is_a_record_with_its_fault(root: Path) -> None:
    cases = list(unreadable(root))
    write(root, *({"image": name, "text": "a box"} for name, _ in cases), {"image": "inner.png"})
    *records, inside = read(root, captions=["text"])
    for record, (name, problem) in zip(records, cases, strict=True):
        assert record.image == b"", name
        assert problem in (record.fault or ""), name
        assert captions(record) == ["a box"]
    assert inside.fault is None, "a link that stays below the root is an image like any other"


def test_columns_that_no_one_maps_are_named_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(root, {"image": "images/a.png", "width": 3}, {"image": "images/b.png", "licence": "MIT"})
    with caplog.at_level(logging.WARNING):
        read(root)
    assert [record.getMessage() for record in caplog.records] == [
        f"{root}/pairs.jsonl: ignored columns: width, licence"
    ]


def odd_table(path: Path) -> None:
    """Three rows; the second has no text and a day of a year that Python does not know, the third one of them."""
    text = pa.array([b"one", b"\xff", b"three"]).view(pa.string())
    day = pa.array([1, 2**31 - 1, 2**31 - 1], pa.int32()).view(pa.date32())
    images = pa.array([f"images/{name}.png" for name in "abc"])
    pq.write_table(pa.table({"image": images, "text": text, "day": day}), path)


def test_what_is_in_a_column_of_parquet_that_no_one_maps_costs_nothing(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd_table(root / "t.parquet")
    assert [record.fault for record in read(root, file="t.parquet")] == [None, None, None]
    assert [record.getMessage() for record in caplog.records] == [f"{root}/t.parquet: ignored columns: text, day"]


def test_a_cell_of_parquet_that_python_cannot_hold_costs_its_own_row(root: Path) -> None:
    odd_table(root / "t.parquet")
    first, bad, last = read(root, file="t.parquet", captions=["text"])
    assert (captions(first), captions(last)) == (["one"], ["three"])
    assert (bad.fault or "").startswith("t.parquet:2: column 'text': cannot be read as string ('utf-8' codec")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"captions": ["captoin"]}, "no column 'captoin'; did you mean 'caption'?"),
        ({"group": "zzz"}, "no column 'zzz'; there is 'image', 'caption'"),
        ({"file": "nowhere.csv"}, "nowhere.csv: no such file"),
        ({"file": "pairs.xlsx"}, "unknown kind of table '.xlsx'; valid extensions: .csv, .tsv, .jsonl, .parquet"),
        ({"file": "../pairs.csv"}, "the manifest leaves the root"),
        ({"file": "empty.jsonl"}, "empty.jsonl: no rows"),
        ({"file": "header.csv"}, "header.csv: no rows"),
        ({"file": "empty.csv"}, "empty.csv:1: no header line"),
        ({"file": "hopeless.jsonl"}, "no row can be read; the first: {root}/hopeless.jsonl:1: not valid JSON"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_one_clear_line(root: Path, change: dict[str, Any], message: str) -> None:
    write(root, {"image": "images/a.png", "caption": "a box"})
    (root / "empty.jsonl").touch()
    (root / "empty.csv").touch()
    write(root, "image,caption", name="header.csv")
    write(root, "nonsense", name="hopeless.jsonl")
    with pytest.raises(ValueError) as error:
        read(root, **change)
    assert message.format(root=root) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "q"}, "map question and answer, or neither"),
        ({"type": "t"}, "map question and answer"),
        ({"negative": "n"}, "map captions"),
        ({"caption_template": "{}"}, "expected columns in braces"),
        ({"caption_template": "{a.b!r}"}, "expected columns in braces"),
        ({"caption_template": "no column"}, "expected columns in braces"),
        ({"caption_template": "{a} {b}", "negative_from": "c"}, "caption_template does not hold {c}"),
        ({"encoding": "utf-9"}, "no text encoding is called 'utf-9'"),
        ({"delimiter": ";;"}, "delimiter"),
        ({"quote": "''"}, "quote"),
        ({"quote": "\n"}, "separates fields or lines"),
        ({"quote": ",", "file": "a.csv"}, "separates fields or lines"),
        ({"caption": ["text"]}, "did you mean 'captions'?"),
    ],
)
def test_a_mapping_that_contradicts_itself_is_one_clear_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError) as error:
        params(**change)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_reading_again_gives_the_same_records_and_another_seed_other_negatives(root: Path) -> None:
    for number in range(20):
        (root / f"images/{number}.png").write_bytes(png())
    rows = [{"image": f"images/{number}.png", "q": "how many?", "a": number} for number in range(20)]
    write(root, *rows)
    mapping = {"question": "q", "answer": "a", "caption_template": "{q} {a}", "negative_from": "a"}
    assert read(root, seed=1, **mapping) == read(root, seed=1, **mapping)
    assert read(root, seed=1, **mapping) != read(root, seed=2, **mapping)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(("image", "text", "no", "tags", "q", "a"), JSON))))
def test_any_rows_become_records_that_can_be_written_and_read_back(root: Path, rows: list[dict[str, Any]]) -> None:
    whole = {"image": "images/a.png", "text": "a", "no": "b", "tags": "x", "q": "q", "a": "a"}
    write(root, whole, *rows)
    found = read(root, captions=["text"], negative="no", labels="tags", question="q", answer="a")
    out = Path(tempfile.mkdtemp(dir=root.parent))  # a folder of finished shards takes no more rows
    write_records(out, found)
    assert list(read_records(out)) == found
    assert any(record.image_name == "a.png" and record.image for record in found)
    assert all(record.fault for record in found if not record.image)


def test_the_table_lies_below_the_root_and_the_images_at_the_remote(root: Path, tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.mkdir()
    write(table, {"image": "images/a.png", "caption": "one"})
    (found,) = read(table, captions=["caption"], remote=f"file://{root}")
    assert (found.image, found.fault) == (png(), None)
    with pytest.raises(ValueError, match="no such file"):
        read(root, captions=["caption"], remote=f"file://{table}")


def test_rows_that_a_stray_quote_joins_are_told_and_can_be_kept_apart(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(root, "image\tcaption", 'images/a.png\t"open', 'images/b.png\tq"', "images/c.png\tc", name="t.tsv")
    with caplog.at_level(logging.WARNING):
        found = read(root, file="t.tsv", captions=["caption"])
    assert [record.id for record in found] == ["images/a.png", "images/c.png"]
    assert "t.tsv: 1 rows run over several lines, the first from line 2" in caplog.text
    assert "set quote: null" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = read(root, file="t.tsv", captions=["caption"], quote=None)
    assert [captions(record) for record in found] == [['"open'], ['q"'], ["c"]]
    assert not caplog.text
