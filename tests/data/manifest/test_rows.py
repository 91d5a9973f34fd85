from __future__ import annotations

import csv
import io
import string
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.data.manifest.rows import Row, TableError, rows


def table(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def cells(path: Path, **options: str | None) -> list[dict[str, str]]:
    found = list(rows(path, **options))  # type: ignore[arg-type]
    assert not any(row.problem for row in found)
    return [row.cells for row in found]


def test_lines_are_numbered_as_an_editor_shows_them(tmp_path: Path) -> None:
    path = table(tmp_path, 'image,text\na.png,"two\nlines"\n\nb.png,one\n')
    assert [(row.line, row.cells["image"]) for row in rows(path)] == [(2, "a.png"), (5, "b.png")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_byte_order_mark_says_the_encoding(tmp_path: Path, encoding: str, name: str) -> None:
    text = "image,text\na.png,Kätzchen 猫\n" if name == "t.csv" else '{"image": "a.png", "text": "Kätzchen 猫"}\n'
    path = table(tmp_path, text.encode(encoding), name)
    assert cells(path, encoding="ascii") == [{"image": "a.png", "text": "Kätzchen 猫"}]


def test_latin_1_is_read_when_it_is_named(tmp_path: Path) -> None:
    path = table(tmp_path, "image,text\na.png,Kätzchen\n".encode("latin-1"))
    assert cells(path, encoding="latin-1") == [{"image": "a.png", "text": "Kätzchen"}]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_bytes_that_are_not_in_the_encoding_cost_their_own_row(tmp_path: Path, name: str) -> None:
    lines = ["a.png,Kätzchen", "b.png,Hund"] if name == "t.csv" else ['{"image": "ä"}', '{"image": "b"}']
    head = "image,text\n" if name == "t.csv" else ""
    first, second = rows(table(tmp_path, (head + "\n".join(lines) + "\n").encode("latin-1"), name))
    assert first.problem == "not valid utf-8; set encoding"
    assert second.problem == ""


def test_utf_16_without_a_mark_is_named_as_what_it_looks_like(tmp_path: Path) -> None:
    path = table(tmp_path, "image,text\na.png,cat\n".encode("utf-16-le"))
    with pytest.raises(TableError, match="looks like UTF-16 without a byte order mark; set encoding: utf-16-le"):
        list(rows(path))
    assert cells(path, encoding="utf-16-le") == [{"image": "a.png", "text": "cat"}]


def test_utf_16_cut_in_a_character_is_one_line(tmp_path: Path) -> None:
    path = table(tmp_path, "image,text\na.png,cat\n".encode("utf-16")[:-1])
    with pytest.raises(TableError, match="not valid utf-16"):
        list(rows(path))


def test_a_nul_byte_stays_in_its_cell(tmp_path: Path) -> None:
    assert cells(table(tmp_path, "image,text\na.png,c\0t\n")) == [{"image": "a.png", "text": "c\0t"}]


def test_quotes_may_be_plain_characters_or_other_ones(tmp_path: Path) -> None:
    path = table(tmp_path, 'image\ttext\nz.png\t"open\nw.png\tq"\nv.png\t"Hello" he said\n', "t.tsv")
    assert [row.cells.get("text") for row in rows(path)] == ["open\nw.png\tq", None]
    found = cells(path, quote=None)
    assert [row["text"] for row in found] == ['"open', 'q"', '"Hello" he said']
    other = table(tmp_path, "image,text\na.png,'two, \"words\"'\n")
    assert cells(other, quote="'") == [{"image": "a.png", "text": 'two, "words"'}]


def test_blanks_after_each_delimiter_are_none_of_the_fields(tmp_path: Path) -> None:
    assert cells(table(tmp_path, 'image, text\n a.png, "a, b"\nb.png, c d\n')) == [
        {"image": "a.png", "text": "a, b"},
        {"image": "b.png", "text": "c d"},
    ]
    kept = cells(table(tmp_path, 'image,text\na.png, "quoted" word\n'))
    assert kept == [{"image": "a.png", "text": ' "quoted" word'}], "where the header has none"


def test_a_wrong_number_of_fields_is_named(tmp_path: Path) -> None:
    path = table(tmp_path, "image,text\na.png,one,two\nb.png\nc.png,cat\n")
    assert [row.problem for row in rows(path)] == [
        "3 fields, the header names 2",
        "1 fields, the header names 2",
        "",
    ]


def test_a_forgotten_quote_costs_one_row_and_not_the_rest_of_the_file(tmp_path: Path) -> None:
    lines = ["image,text", 'a.png,"a cat', *(f"{number}.png,cat {number}" for number in range(1000)), 'z.png,"zebra"']
    found = list(rows(table(tmp_path, "\n".join(lines))))
    broken = [row for row in found if row.problem]
    assert [(row.line, row.problem) for row in broken] == [(2, "a quoted field is not closed")]
    assert len(found) == 1002
    assert found[-1] == Row(line=1003, cells={"image": "z.png", "text": "zebra"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,text,image\n", "t.csv:1: the header names 'image' more than once"),
        ("image;text\na;b\n", "one column 'image;text'; the delimiter is ',', set delimiter: ';'"),
        ('image,"text\n', "t.csv:1: no header line (a quoted field is not closed)"),
    ],
)
def test_a_header_that_cannot_be_used_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(TableError) as error:
        list(rows(table(tmp_path, content)))
    assert message in str(error.value)


def test_another_delimiter_can_be_named(tmp_path: Path) -> None:
    assert cells(table(tmp_path, "image;text\na;b,c\n"), delimiter=";") == [{"image": "a", "text": "b,c"}]


def test_a_line_separator_of_unicode_does_not_end_a_row(tmp_path: Path) -> None:
    path = table(tmp_path, '{"image": "a\u2028b"}\n', "t.jsonl")
    assert cells(path) == [{"image": "a\u2028b"}]
    assert cells(table(tmp_path, "image,text\na\u2028b,c\x0bd\n")) == [{"image": "a\u2028b", "text": "c\x0bd"}]


def test_parquet_keeps_lists_and_nulls(tmp_path: Path) -> None:
    content = [{"image": "a", "texts": ["x", "y"]}, {"image": "b", "texts": None}]
    pq.write_table(pa.Table.from_pylist(content), tmp_path / "t.parquet")
    assert cells(tmp_path / "t.parquet") == content


def test_a_damaged_parquet_file_is_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["a"]}), tmp_path / "t.parquet")
    path = table(tmp_path, (tmp_path / "t.parquet").read_bytes()[:-20], "cut.parquet")
    with pytest.raises(TableError, match=r"cut\.parquet: not a readable Parquet file"):
        list(rows(path))


# What a CSV writer quotes (delimiters, quotes, ends of lines) and what it does not; no lone surrogates.
TEXT = st.text(st.sampled_from(string.ascii_letters + ' ,"\n\r\t;é猫\u2028\0'), max_size=12)


@given(content=st.lists(st.tuples(TEXT, TEXT), max_size=8))
def test_what_a_csv_writer_wrote_is_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, content: list[tuple[str, str]]
) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([("image", "text"), *content])
    path = table(tmp_path_factory.mktemp("csv"), buffer.getvalue())
    assert [tuple(row.values()) for row in cells(path)] == content


@given(content=st.binary(max_size=200), name=st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.parquet"]))
def test_any_bytes_are_rows_or_a_table_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    try:
        found = list(rows(table(tmp_path_factory.mktemp("any"), content, name)))
    except TableError:
        return
    assert all(row.problem or isinstance(row.cells, dict) for row in found)
