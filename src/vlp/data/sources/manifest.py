"""Any user's own pairs: a table with a column mapping, and images by path relative to a root.

Rows that name the same image are one record: five captions in five rows, or twelve questions. The table
is read twice: first to learn its columns, which images come back and, for ``negative_from``, which values
there are; then record by record. Memory holds 8 bytes a row, the rows of images that are not complete yet
(one image's, where they stand together), and the distinct values of ``negative_from``.
"""

from __future__ import annotations

import difflib
import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from vlp.data.manifest import mapping, rows
from vlp.data.manifest.images import alpha_region, read_below
from vlp.data.manifest.mapping import Facts, Params, RowError
from vlp.data.manifest.templates import Values, caption, stable_hash
from vlp.records import Caption, Record

__all__ = ["Params", "read"]

logger = logging.getLogger(__name__)


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
    survey = _survey(path, params)
    images: dict[str, _Image] = {}
    for row in rows.rows(path, params.encoding, params.delimiter):
        try:
            name = mapping.image_name(row, params)
        except RowError as error:
            yield _refused(params, row.line, error)
            continue
        image = images.setdefault(name, _Image())
        image.met += 1
        try:
            image.facts.append(_agreeing(mapping.facts(row, params), image.facts))
        except RowError as error:
            yield _refused(params, row.line, error)
        if image.met >= survey.repeated.get(stable_hash(name), 1):
            del images[name]
            if image.facts:
                yield _record(root, name, image.facts, params, survey.values, seed)
    # None is left unless two paths share a hash.
    for name, image in images.items():
        yield _record(root, name, image.facts, params, survey.values, seed)


def _refused(params: Params, line: int, error: RowError) -> Record:
    place = f"{params.file}:{line}"
    return Record(id=place, image=b"", image_name="", captions=(), group=place, fault=f"{place}: {error}")


def _survey(path: Path, params: Params) -> _Survey:
    """Read the table once; check the mapping against the columns there are."""
    survey = _Survey(values=Values(params.negative_from) if params.negative_from else None)
    hashes = array("Q")
    first_problem, line = "", 0
    for row in rows.rows(path, params.encoding, params.delimiter):
        line = row.line
        survey.columns.update(dict.fromkeys(row.cells))
        try:
            hashes.append(stable_hash(mapping.image_name(row, params)))
            if survey.values:
                survey.values.add(mapping.facts(row, params))
        except RowError as error:  # the second reading makes a record of it
            first_problem = first_problem or f"{path}:{row.line}: {error}"
    if not line:
        raise ValueError(f"{path}: no rows")
    if not survey.columns:
        raise ValueError(f"{path}: no row can be read; the first: {first_problem}")
    _check_columns(path, params, list(survey.columns))
    names, counts = np.unique(np.frombuffer(hashes, np.uint64), return_counts=True)
    several = counts > 1
    survey.repeated = dict(zip(names[several].tolist(), counts[several].tolist(), strict=True))
    return survey


def _check_columns(path: Path, params: Params, columns: list[str]) -> None:
    mapped = {name: name if name in columns else name.split(".")[0] for name in params.columns()}
    for name, column in mapped.items():
        if column not in columns:
            near = difflib.get_close_matches(name, columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(map(repr, columns))}"
            raise ValueError(f"{path}: no column {name!r}; {hint}")
    if ignored := [name for name in columns if name not in mapped.values()]:
        logger.warning("%s: ignored columns: %s", path, ", ".join(ignored))


def _agreeing(facts: Facts, earlier: list[Facts]) -> Facts:
    """``facts``, if the image's earlier rows put it into the same split and group: one that is in two leaks."""
    for name in ("group", "split"):
        value = getattr(facts, name)
        if earlier and value != (first := getattr(earlier[0], name)):
            raise RowError(f"{name} {value!r}, but line {earlier[0].line} says {first!r} of the same image")
    return facts


def _captions(name: str, facts: list[Facts], params: Params, values: Values | None, seed: int) -> Iterator[Caption]:
    for row in facts:
        yield from row.captions
        if params.caption_template is not None and (
            made := caption(params.caption_template, row, facts, values, f"{seed} {name}")
        ):
            yield made


def _record(root: Path, name: str, facts: list[Facts], params: Params, values: Values | None, seed: int) -> Record:
    image, problem = read_below(root, name)
    # A table joined from two repeats a caption in each of an image's rows: equal ones are one.
    captions = tuple(dict.fromkeys(_captions(name, facts, params, values, seed)))
    region = alpha_region(image, captions[0].text) if params.regions_from_alpha and captions else None
    identity = facts[0].id or name
    return Record(
        id=identity,
        image=image,
        image_name=PurePosixPath(name).name,
        captions=captions,
        group=facts[0].group or identity,
        split=facts[0].split,
        labels=tuple(dict.fromkeys(label for row in facts for label in row.labels)),
        questions=tuple(dict.fromkeys(row.question for row in facts if row.question)),
        regions=(region,) if region else (),
        fault=f"{params.file}:{facts[0].line}: {problem}" if problem else None,
    )
