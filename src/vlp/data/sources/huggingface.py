"""Data sets of Hugging Face's ``datasets``: a folder of ``save_to_disk``, or Parquet with the images inside.

Files lie below the root. Of the hub, every data set can be read as Parquet without running any code of it, where
the network is allowed by naming it: ``remote: hf://datasets/OWNER/NAME@~parquet``.

Rows of one image that follow one another are one record, as data of several questions an image have it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from vlp.data.huggingface.tables import Features, File, TableError, rows, saved_files
from vlp.data.raw import columns
from vlp.data.raw.columns import Columns, Facts, Row, RowError, record, refused
from vlp.data.raw.root import Root, open_root
from vlp.data.raw.templates import caption
from vlp.records import Record

Split = Literal["any", "train", "validation", "test"]


class Params(Columns):
    """``sources.huggingface`` of ``params.yaml``."""

    folder: str | None = Field(None, description="what save_to_disk wrote, below the root")
    files: Mapping[Split, tuple[str, ...]] = Field(
        default_factory=dict, description='official split, or any → Parquet files: "data/train-*.parquet"'
    )
    splits: Mapping[str, Split | Literal["none"]] = Field(
        default_factory=dict,
        description="what the splits of folder are where their names do not say: any: shared out, none: left out",
    )
    image: str = Field("image", description="column of the image: its bytes, or its path below the root")

    @model_validator(mode="after")
    def _one_place(self) -> Params:
        if (self.folder is None) is (not self.files):
            raise ValueError("name folder, or files")
        return self


class _Image(NamedTuple):
    """One row's image: its bytes, or why there are none, and the name that it had."""

    key: bytes
    """Equal for rows of one image."""
    data: bytes
    name: str
    problem: str


def read(root: Path, params: Params, seed: int) -> Iterator[Record]:
    """A record for each run of rows with one image, file by file; what cannot be used is a record with ``fault``.

    Args:
        root: the files' folder.
        params: files and columns.
        seed: not read.

    Raises:
        ValueError: there is no such folder or file, or no file has a mapped column.
    """
    del seed
    raw = open_root(root, params.remote)
    features = Features()
    for file in _files(raw, params):
        try:
            yield from _records(raw, file, params, features)
        except TableError as error:
            yield refused(file.name, str(error).removeprefix(f"{file.name}: "))
    columns.check(features.columns, params, params.folder or "the files")


def _files(raw: Root, params: Params) -> list[File]:
    if params.folder is not None:
        return saved_files(raw, params.folder, params.splits)
    return [
        File(name, None if split == "any" else split)
        for split, patterns in params.files.items()
        for name in raw.match(patterns)
    ]


def _records(raw: Root, file: File, params: Params, features: Features) -> Iterator[Record]:
    found = rows(raw, file.name, columns.stored(params), features)
    with_images = ((row, _image(raw, columns.cell(row, params.image), params)) for row in found)
    for _, run in groupby(with_images, key=lambda item: item[1].key or item[0].line):
        yield from _record(file, list(run), params, features)


def _record(file: File, run: list[tuple[Row, _Image]], params: Params, features: Features) -> Iterator[Record]:
    image, found = run[0][1], list[Facts]()
    mapped = [name for name in params.columns() if name != params.image]
    for row, _ in run:
        cells = {name: columns.cell(row, name) for name in mapped}
        try:
            if row.problem:
                raise RowError(row.problem)
            facts = columns.facts(Row(line=row.line, cells=features.named(cells)), params)
            found.append(columns.agreeing(facts, found))
        except RowError as error:
            yield refused(f"{file.name}:{row.line}", error)
    if not found:
        return
    place = f"{file.name}:{found[0].line}"
    told = [said for row in found for said in row.captions]
    if params.caption_template:
        made = (caption(params.caption_template, row, found, None, "") for row in found)
        told += [said for said in made if said]
    fault = f"{place}: column {params.image!r}: {image.problem}" if image.problem else None
    whole = record(found, image.data, place, captions=told, fault=fault)
    yield replace(whole, image_name=image.name, split=file.split or whole.split)


def _image(raw: Root, cell: Any, params: Params) -> _Image:
    """The image of one cell: bytes, a path, or both, as the feature ``Image`` stores them."""
    data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if isinstance(data, str):
        data, path = None, data
    name = PurePosixPath(path).name if isinstance(path, str) else ""
    if isinstance(data, bytes):
        key = hashlib.sha256(data).digest()
        if len(data) > params.max_bytes:
            return _Image(key, b"", name, f"{len(data)} bytes, more than {params.max_bytes}")
        return _Image(key, data, name, "")
    if isinstance(path, str) and path:
        data, problem = raw.read(path, params.max_bytes)
        return _Image(path.encode(errors="replace"), data, name, f"{path!r}: {problem}" if problem else "")
    return _Image(b"", b"", "", "no image" if cell is None else f"no image, found {type(cell).__name__}")
