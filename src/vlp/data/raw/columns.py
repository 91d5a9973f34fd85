"""What the columns of a data set mean: one row by the mapping of ``params.yaml``, or why it cannot be used."""

from __future__ import annotations

import difflib
import itertools
import logging
import math
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from vlp.data.raw.root import Place
from vlp.records import Caption, Question, Record, Region

logger = logging.getLogger(__name__)

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
YES_NO = {"yes", "no"}
OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row: its cells by column, and why it cannot be used; then some or all of its cells are not there."""

    line: int
    """Where it stands, from 1: the line that it starts on, or the row's number where there are no lines."""
    cells: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


class Columns(Place):
    """Which column means what. ``a.b`` is the key ``b`` inside the column ``a``."""

    image: str = Field(description="the image: its path below the root or, in archives, its bytes")
    captions: tuple[str, ...] = Field((), description="one text each, or a list of texts")
    negative: str | None = Field(
        None, description="false twin of the first caption, or a list of them in caption order"
    )
    caption_template: str | None = Field(None, description='a caption from columns: "{question} {answer}"')
    id: str | None = Field(None, description="unique name of the record; the image's own where null")
    group: str | None = Field(None, description="what must stay in one split; the record alone where null")
    split: str | None = Field(None, description="train, validation or test, as the data set prescribes")
    labels: str | None = Field(None, description="a list, or one text separated by labels_separator")
    labels_separator: str = Field(",", min_length=1)
    labels_except: tuple[str, ...] = Field((), description='values of the labels column that name nothing: "yes", "no"')
    question: str | None = None
    answer: str | None = None
    answers: str | None = Field(None, description="what each of several people answered, a list; answer is what counts")
    type: str | None = Field(None, description="type of question; where null the answer's: yes/no, number, other")

    @field_validator("caption_template")
    @classmethod
    def _plain_template(cls, value: str | None) -> str | None:
        if value is not None and not _is_plain(value):
            raise ValueError("expected columns in braces, without format or conversion")
        return value

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.labels_except and self.labels is None:
            raise ValueError("labels_except is of the labels: map labels")
        if (self.question is None) != (self.answer is None):
            raise ValueError("map question and answer, or neither")
        if self.answers is not None and self.question is None:
            raise ValueError("answers are of a question: map question and answer")
        if self.type is not None and self.question is None:
            raise ValueError("type is the type of a question: map question and answer")
        if self.negative is not None and not self.captions:
            raise ValueError("negative is the false twin of a caption: map captions")
        return self

    def columns(self) -> list[str]:
        """Every column that is mapped, in the order of the fields."""
        single = [self.image, self.negative, self.id, self.group, self.split, self.labels]
        single += [self.question, self.answer, self.answers, self.type]
        named = [*single, *self.captions, *fields_of(self.caption_template)]
        return list(dict.fromkeys(name for name in named if name is not None))


def whole_names(column: str) -> list[str]:
    """What may hold ``a.b.c``, the longest first: ``a.b.c`` itself, ``a.b`` with the key ``c``, ``a`` with ``b.c``."""
    keys = column.split(".")
    return [".".join(keys[:count]) for count in range(len(keys), 0, -1)]


def stored(params: Columns) -> list[str]:
    """The columns that a file is asked for: of a mapped ``a.b`` both ``a.b`` and ``a``, whichever there is."""
    return [name for column in params.columns() for name in whole_names(column)]


def check(columns: Iterable[str], params: Columns, where: str) -> None:
    """Hold the mapping against the columns that there are; name those that nothing maps in the log.

    Raises:
        ValueError: a mapped column is not there; the message names the nearest one.
    """
    columns = list(columns)
    mapped = {
        name: next((whole for whole in whole_names(name) if whole in columns), name.split(".")[0])
        for name in params.columns()
    }
    for name, column in mapped.items():
        if column not in columns:
            near = difflib.get_close_matches(name, columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(map(repr, columns))}"
            raise ValueError(f"{where}: no column {name!r}; {hint}")
    if ignored := [name for name in columns if name not in mapped.values()]:
        logger.warning("%s: ignored columns: %s", where, ", ".join(ignored))


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


def agreeing(facts: Facts, earlier: Sequence[Facts]) -> Facts:
    """``facts``, if the image's earlier rows put it into the same split and group: one that is in two leaks.

    Raises:
        RowError: they put it elsewhere.
    """
    for name in ("group", "split"):
        value = getattr(facts, name)
        if earlier and value != (first := getattr(earlier[0], name)):
            raise RowError(f"{name} {value!r}, but line {earlier[0].line} says {first!r} of the same image")
    return facts


def image_name(row: Row, params: Columns) -> str:
    """The path of the row's image below the root.

    Raises:
        RowError: the row cannot be read, or names no image.
    """
    if row.problem:
        raise RowError(row.problem)
    if not (name := _text(row, params.image)):
        raise RowError(f"column {params.image!r}: no image")
    return PurePosixPath(name).as_posix()  # ./a.png and a.png are one image


def cell(row: Row, column: str) -> Any:
    """The cell of ``column``, or of ``b`` inside the column ``a`` for ``a.b``; None where there is none.

    Where ``a`` is a list, all its ``b``, in order.
    """
    name = next((name for name in whole_names(column) if name in row.cells), None)
    if name is None:
        return None
    value = row.cells[name]
    for key in column[len(name) :].split(".")[1:]:
        value = _inside(value, key)
    return value


def _inside(value: Any, key: str) -> Any:
    if isinstance(value, list):
        return [_inside(each, key) for each in value]
    return value.get(key) if isinstance(value, Mapping) else None


def whole_text(text: str, where: str) -> str:
    """``text``, which Arrow and UTF-8 can hold.

    Raises:
        RowError: it has a lone surrogate.
    """
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise RowError(f"{where}: half a character (a lone surrogate)")
    return text


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
            return whole_text(value, f"column {column!r}")
    raise RowError(f"column {column!r}: expected text, found {type(value).__name__}")


def _text(row: Row, column: str | None) -> str | None:
    """One text; an empty cell is none."""
    return None if column is None else _as_text(cell(row, column), column) or None


def _texts(row: Row, column: str | None) -> list[str | None]:
    """The texts of a cell that holds one or a list; an empty text stays, as it was collected."""
    if column is None or (value := cell(row, column)) is None:
        return []
    return [_as_text(item, column) for item in (value if isinstance(value, list) else [value])]


def facts(row: Row, params: Columns) -> Facts:
    """What the row says, by the mapping.

    Raises:
        RowError: a cell is no text where one is expected, or says what cannot be.
    """
    template = {name: _stripped(row, name) for name in fields_of(params.caption_template)}
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


def record(
    facts: list[Facts],
    image: bytes,
    name: str,
    *,
    captions: Iterable[Caption],
    regions: tuple[Region, ...] = (),
    fault: str | None = None,
) -> Record:
    """The record of one image and of all rows that name it, at least one.

    Args:
        facts: the rows; the first one's id, group and split are the record's.
        image: the file's bytes.
        name: of the image, unique: the record's id, where no column is mapped to it.
        captions: those of all rows; equal ones are one, for a joined table repeats them.
        regions: with masks of the image's own size.
        fault: why the image could not be read.
    """
    identity = facts[0].id or name
    return Record(
        id=identity,
        image=image,
        image_name=PurePosixPath(name).name,
        captions=tuple(dict.fromkeys(captions)),
        group=facts[0].group or identity,
        split=facts[0].split,
        labels=tuple(dict.fromkeys(label for row in facts for label in row.labels)),
        questions=tuple(dict.fromkeys(row.question for row in facts if row.question)),
        regions=regions,
        fault=fault,
    )


def refused(place: str, problem: object) -> Record:
    """What stands for a row or a file that cannot be used: a record that says where and why."""
    place, said = (text.encode(errors="backslashreplace").decode() for text in (place, str(problem)))
    return Record(id=place, image=b"", image_name="", captions=(), group=place, fault=f"{place}: {said}")


def _split(row: Row, params: Columns) -> str | None:
    name = _text(row, params.split)
    if name is not None and name.lower() not in SPLITS:
        raise RowError(f"column {params.split!r}: split {name!r} is none of train, validation, test")
    return SPLITS[name.lower()] if name else None


def _captions(row: Row, params: Columns) -> tuple[Caption, ...]:
    texts = [text for column in params.captions for text in _texts(row, column)]
    negatives = _texts(row, params.negative)
    if len(negatives) > len(texts):
        raise RowError(f"column {params.negative!r}: {len(negatives)} negatives for {len(texts)} captions")
    pairs = itertools.zip_longest(texts, negatives)
    return tuple(Caption(text=text, negative=negative or None) for text, negative in pairs if text is not None)


def _labels(row: Row, params: Columns) -> tuple[str, ...]:
    if params.labels is not None and isinstance(cell(row, params.labels), str):
        parts: list[str | None] = [*(_text(row, params.labels) or "").split(params.labels_separator)]
    else:
        parts = _texts(row, params.labels)
    named = (part.strip() for part in parts if part is not None)
    return tuple(label for label in named if label and label not in params.labels_except)


def _question(row: Row, params: Columns) -> Question | None:
    text, answer = (_stripped(row, column) for column in (params.question, params.answer))
    if text is None and answer is None:
        return None
    if text is None or answer is None:
        raise RowError(f"column {params.question if text is None else params.answer!r}: question or answer is missing")
    given = tuple(each for each in _texts(row, params.answers) if each is not None)
    return Question(text=text, answer=answer, type=_text(row, params.type) or answer_type(answer), given=given)


def _stripped(row: Row, column: str | None) -> str | None:
    """One text without the blanks around it, which would tell ``yes`` and ``yes `` apart; of blanks alone none."""
    return (_text(row, column) or "").strip() or None


def answer_type(answer: str) -> str:
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
