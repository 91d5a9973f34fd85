"""Any user's own pairs: a table with a column mapping, and images by path relative to a root.

Rows that name the same image are one record: five captions in five rows, or twelve questions. The table
is read twice: first to learn its columns, which images come back and, for ``negative_from``, which values
there are; then record by record. Memory holds 8 bytes a row, the rows of images that are not complete yet
(one image's, where they stand together), and the distinct values of ``negative_from``.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator, model_validator

from vlp.data.manifest import rows
from vlp.data.manifest.images import alpha_region
from vlp.data.raw import columns
from vlp.data.raw.columns import Columns, Facts, Row, RowError, fields_of
from vlp.data.raw.root import Root, open_root
from vlp.data.raw.templates import Values, caption, stable_hash
from vlp.records import Caption, Record

logger = logging.getLogger(__name__)


class Params(Columns):
    """``sources.manifest``: which column means what. ``a.b`` is the key ``b`` inside the column ``a``."""

    file: str = Field(min_length=1, description="CSV, TSV, JSONL or Parquet, relative to ingest.root")
    encoding: str = Field("utf-8", description="of a text file without a byte order mark")
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="of CSV and TSV, if an unusual one")
    quote: str | None = Field(
        '"', min_length=1, max_length=1, description="around fields of CSV and TSV; null: quotes are plain characters"
    )
    negative_from: str | None = Field(None, description="column of caption_template that a false twin changes")
    regions_from_alpha: bool = Field(False, description="the alpha channel shows what the first caption names")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            b"a".decode(value, "replace")
        except (LookupError, UnicodeError):
            raise ValueError(f"no text encoding is called {value!r}") from None
        return value

    @model_validator(mode="after")
    def _separates(self) -> Params:
        delimiter = self.delimiter or rows.DELIMITERS.get(Path(self.file).suffix.lower())
        if self.quote is not None and (self.quote == delimiter or self.quote in "\r\n"):
            raise ValueError(f"quote: {self.quote!r} separates fields or lines")
        return self

    @model_validator(mode="after")
    def _falsifies(self) -> Params:
        if self.negative_from is not None and self.negative_from not in fields_of(self.caption_template):
            raise ValueError(f"negative_from: caption_template does not hold {{{self.negative_from}}}")
        return self


@dataclass(slots=True)
class _Image:
    """The rows of one image met so far, readable or not."""

    met: int = 0
    facts: list[Facts] = field(default_factory=list)


@dataclass(slots=True)
class _Survey:
    """What the first reading learns."""

    columns: dict[str, None] = field(default_factory=dict)
    repeated: dict[int, int] = field(default_factory=dict)
    """Rows of each image that has more than one, by hash of its path."""
    values: Values | None = None


def read(root: Path, params: Params, seed: int) -> Iterator[Record]:
    """The records of the manifest, each where its image's last row stands.

    A row that cannot be used, or an image that cannot be read, is a record with ``fault``.

    Args:
        root: folder of the manifest and the images; no path may leave it.
        params: the column mapping.
        seed: chooses among the values that a negative may take.

    Raises:
        ValueError: the manifest is missing, outside ``root``, empty, not readable as a table, or lacks a
            mapped column.
    """
    path = root / params.file
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{path}: the manifest leaves the root {root}; move it below")
    raw = open_root(root, params.remote)
    survey = _survey(path, params)
    images: dict[str, _Image] = {}
    for row in _rows(path, params):
        try:
            name = columns.image_name(row, params)
        except RowError as error:
            yield columns.refused(f"{params.file}:{row.line}", error)
            continue
        image = images.setdefault(name, _Image())
        image.met += 1
        try:
            image.facts.append(columns.agreeing(columns.facts(row, params), image.facts))
        except RowError as error:
            yield columns.refused(f"{params.file}:{row.line}", error)
        if image.met >= survey.repeated.get(stable_hash(name), 1):
            del images[name]
            if image.facts:
                yield _record(raw, name, image.facts, params, survey.values, seed)
    # None is left unless two paths share a hash.
    for name, image in images.items():
        yield _record(raw, name, image.facts, params, survey.values, seed)


def _rows(path: Path, params: Params) -> Iterator[Row]:
    return rows.rows(path, params.encoding, params.delimiter, columns.stored(params), params.quote)


def _survey(path: Path, params: Params) -> _Survey:
    """Read the table once; check the mapping against the columns there are."""
    survey = _Survey(values=Values(params.negative_from) if params.negative_from else None)
    survey.columns.update(dict.fromkeys(rows.columns(path)))
    hashes = array("Q")
    tabs = path.suffix.lower() == ".tsv"
    first_problem, line, broken = "", 0, list[int]()
    for row in _rows(path, params):
        line = row.line
        survey.columns.update(dict.fromkeys(row.cells))
        if tabs and any("\n" in str(value) for value in row.cells.values()):
            broken.append(line)
        try:
            hashes.append(stable_hash(columns.image_name(row, params)))
            if survey.values:
                survey.values.add(columns.facts(row, params))
        except RowError as error:  # the second reading makes a record of it
            first_problem = first_problem or f"{path}:{row.line}: {error}"
    if not line:
        raise ValueError(f"{path}: no rows")
    if not survey.columns:
        raise ValueError(f"{path}: no row can be read; the first: {first_problem}")
    if broken:
        many = f"{len(broken)} rows run over several lines, the first from line {broken[0]}"
        logger.warning("%s: %s; are quotes plain characters there? Then set quote: null", path, many)
    columns.check(survey.columns, params, str(path))
    names, counts = np.unique(np.frombuffer(hashes, np.uint64), return_counts=True)
    several = counts > 1
    survey.repeated = dict(zip(names[several].tolist(), counts[several].tolist(), strict=True))
    return survey


def _captions(name: str, facts: list[Facts], params: Params, values: Values | None, seed: int) -> Iterator[Caption]:
    for row in facts:
        yield from row.captions
        if params.caption_template is not None and (
            made := caption(params.caption_template, row, facts, values, f"{seed} {name}")
        ):
            yield made


def _record(raw: Root, name: str, facts: list[Facts], params: Params, values: Values | None, seed: int) -> Record:
    image, problem = raw.read(name, params.max_bytes)
    captions = list(_captions(name, facts, params, values, seed))
    region = alpha_region(image, captions[0].text) if params.regions_from_alpha and captions else None
    return columns.record(
        facts,
        image,
        name,
        captions=captions,
        regions=(region,) if region else (),
        fault=f"{params.file}:{facts[0].line}: image {name!r}: {problem}" if problem else None,
    )
