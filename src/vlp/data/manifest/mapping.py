"""What the columns of a table mean: one row by the mapping of ``params.yaml``, or why it cannot be used."""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field, field_validator, model_validator

from vlp.data.manifest.rows import Row
from vlp.params import Section
from vlp.records import Caption, Question

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
YES_NO = {"yes", "no"}
OTHER = "other"


class Params(Section):
    """``sources.manifest``: which column means what. ``a.b`` is the key ``b`` inside the column ``a``."""

    file: str = Field(min_length=1, description="CSV, TSV, JSONL or Parquet, relative to ingest.root")
    encoding: str = Field("utf-8", description="of a text file without a byte order mark")
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="of CSV and TSV, if an unusual one")
    image: str = Field(description="path of the image, relative to ingest.root")
    captions: tuple[str, ...] = Field((), description="one text each, or a list of texts")
    negative: str | None = Field(
        None, description="false twin of the first caption, or a list of them in caption order"
    )
    caption_template: str | None = Field(None, description='a caption from columns: "{question} {answer}"')
    negative_from: str | None = Field(None, description="column of caption_template that a false twin changes")
    id: str | None = Field(None, description="unique name of the record; the image's path where null")
    group: str | None = Field(None, description="what must stay in one split; the record alone where null")
    split: str | None = Field(None, description="train, validation or test, as the data set prescribes")
    labels: str | None = Field(None, description="a list, or one text separated by labels_separator")
    labels_separator: str = Field(",", min_length=1)
    question: str | None = None
    answer: str | None = None
    type: str | None = Field(None, description="type of question; where null the answer's: yes/no, number, other")
    regions_from_alpha: bool = Field(False, description="the alpha channel shows what the first caption names")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            b"a".decode(value, "replace")
        except (LookupError, UnicodeError):
            raise ValueError(f"no text encoding is called {value!r}") from None
        return value

    @field_validator("caption_template")
    @classmethod
    def _plain_template(cls, value: str | None) -> str | None:
        if value is not None and not _is_plain(value):
            raise ValueError("expected columns in braces, without format or conversion")
        return value

    @model_validator(mode="after")
    def _agrees(self) -> Params:
        if (self.question is None) != (self.answer is None):
            raise ValueError("map question and answer, or neither")
        if self.type is not None and self.question is None:
            raise ValueError("type is the type of a question: map question and answer")
        if self.negative is not None and not self.captions:
            raise ValueError("negative is the false twin of a caption: map captions")
        if self.negative_from is not None and self.negative_from not in fields_of(self.caption_template):
            raise ValueError(f"negative_from: caption_template does not hold {{{self.negative_from}}}")
        return self

    def columns(self) -> list[str]:
        """Every column that is mapped, in the order of the fields."""
        single = [self.image, self.negative, self.id, self.group, self.split, self.labels]
        single += [self.question, self.answer, self.type]
        named = [*single, *self.captions, *fields_of(self.caption_template)]
        return list(dict.fromkeys(name for name in named if name is not None))


class RowError(ValueError):
    """One row cannot be used; it becomes a record with this as its fault."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """One row, read by the mapping."""

    line: int
    id: str | None
    group: str | None
    split: str | None
    captions: tuple[Caption, ...]
    labels: tuple[str, ...]
    question: Question | None
    template: dict[str, str]
    """The columns of ``caption_template``; empty where the row lacks one."""


def image_name(row: Row, params: Params) -> str:
    """The path of the row's image below the root.

    Raises:
        RowError: the row cannot be read, or names no image.
    """
    if row.problem:
        raise RowError(row.problem)
    if not (name := _text(row, params.image)):
        raise RowError(f"column {params.image!r}: no image")
    return PurePosixPath(name).as_posix()  # ./a.png and a.png are one image


def _cell(row: Row, column: str) -> Any:
    """The cell of ``column``, or of ``b`` inside the column ``a`` for ``a.b``; None where there is none."""
    if column in row.cells:
        return row.cells[column]
    value: Any = row.cells
    for key in column.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _as_text(value: Any, column: str) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return str(value).lower()
        case float() if math.isnan(value):
            return None
        case int() | float():
            return str(value)
        case str():
            if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
                raise RowError(f"column {column!r}: half a character (a lone surrogate)")
            return value
    raise RowError(f"column {column!r}: expected text, found {type(value).__name__}")


def _text(row: Row, column: str | None) -> str | None:
    """One text; an empty cell is none."""
    return None if column is None else _as_text(_cell(row, column), column) or None


def _texts(row: Row, column: str | None) -> list[str | None]:
    """The texts of a cell that holds one or a list; an empty text stays, as it was collected."""
    if column is None or (value := _cell(row, column)) is None:
        return []
    return [_as_text(item, column) for item in (value if isinstance(value, list) else [value])]


def facts(row: Row, params: Params) -> Facts:
    """What the row says, by the mapping.

    Raises:
        RowError: a cell is no text where one is expected, or says what cannot be.
    """
    template = {name: _text(row, name) for name in fields_of(params.caption_template)}
    whole = {name: value for name, value in template.items() if value is not None}
    return Facts(
        line=row.line,
        id=_text(row, params.id),
        group=_text(row, params.group),
        split=_split(row, params),
        captions=_captions(row, params),
        labels=_labels(row, params),
        question=_question(row, params),
        template=whole if len(whole) == len(template) else {},
    )


def _split(row: Row, params: Params) -> str | None:
    name = _text(row, params.split)
    if name is not None and name.lower() not in SPLITS:
        raise RowError(f"column {params.split!r}: split {name!r} is none of train, validation, test")
    return SPLITS[name.lower()] if name else None


def _captions(row: Row, params: Params) -> tuple[Caption, ...]:
    texts = [text for column in params.captions for text in _texts(row, column)]
    negatives = _texts(row, params.negative)
    if len(negatives) > len(texts):
        raise RowError(f"column {params.negative!r}: {len(negatives)} negatives for {len(texts)} captions")
    pairs = itertools.zip_longest(texts, negatives)
    return tuple(Caption(text=text, negative=negative or None) for text, negative in pairs if text is not None)


def _labels(row: Row, params: Params) -> tuple[str, ...]:
    if params.labels is not None and isinstance(_cell(row, params.labels), str):
        parts: list[str | None] = [*(_text(row, params.labels) or "").split(params.labels_separator)]
    else:
        parts = _texts(row, params.labels)
    return tuple(label for part in parts if part is not None and (label := part.strip()))


def _question(row: Row, params: Params) -> Question | None:
    text, answer = _text(row, params.question), _text(row, params.answer)
    if text is None and answer is None:
        return None
    if text is None or answer is None:
        raise RowError(f"column {params.question if text is None else params.answer!r}: question or answer is missing")
    return Question(text=text, answer=answer, type=_text(row, params.type) or _answer_type(answer))


def _answer_type(answer: str) -> str:
    """The answer types of VQA (Antol et al. 2015, https://arxiv.org/abs/1505.00468)."""
    if answer.casefold() in YES_NO:
        return "yes/no"
    return "number" if answer.replace(".", "", 1).isdecimal() else OTHER


def _is_plain(template: str) -> bool:
    """Whether ``template`` names at least one column, each without format or conversion."""
    holes = [hole for hole in string.Formatter().parse(template) if hole[1] is not None]
    return bool(holes) and all(name and not form and not conversion for _, name, form, conversion in holes)


def fields_of(template: str | None) -> list[str]:
    """The columns that a template names, in order."""
    return [name for _, name, _, _ in string.Formatter().parse(template or "") if name is not None]
