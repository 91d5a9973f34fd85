"""WebDataset's tar shards, local or streamed from a remote: images, texts and JSON that share a key.

A column is a field of the sample (``txt``), a key inside its JSON (``json.caption``), ``__key__`` or ``__shard__``.
A shard that is damaged is a record that says where; its samples before that are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from vlp.data.raw import columns
from vlp.data.raw.columns import Columns, Facts, Row, RowError, record, refused
from vlp.data.raw.root import Root, RootError, open_root
from vlp.data.raw.templates import caption
from vlp.data.webdataset.archives import ArchiveError, Sample, samples
from vlp.records import Record

Split = Literal["any", "train", "validation", "test"]

OWN = frozenset({"__key__", "__shard__"})
"""Columns that are no field of a sample."""


class Params(Columns):
    """``sources.webdataset`` of ``params.yaml``."""

    shards: Mapping[Split, tuple[str, ...]] = Field(
        description='official split, or any → patterns: "*.tar", "train-{000..041}.tar"', min_length=1
    )
    image: str = Field("jpg;jpeg;png;webp", description="field of the image; several are tried in turn")


def read(root: Path, params: Params, seed: int) -> Iterator[Record]:
    """A record a sample, shard by shard; one that cannot be used is a record with ``fault``.

    Args:
        root: folder of the shards.
        params: shards and columns.
        seed: not read.

    Raises:
        ValueError: no shard matches, or no sample has a mapped column.
    """
    del seed
    raw = open_root(root, params.remote)
    seen: dict[str, None] = {}
    for split, patterns in params.shards.items():
        for shard in raw.match(patterns):
            yield from _shard(raw, shard, None if split == "any" else split, params, seen)
    mapped = params.columns()
    columns.check([name for name in seen if name not in OWN or name in mapped], params, "the shards' samples")


def _shard(raw: Root, shard: str, split: str | None, params: Params, seen: dict[str, None]) -> Iterator[Record]:
    number, met = 0, set[str]()
    try:
        with raw.open(shard) as stream:
            for number, sample in enumerate(samples(stream, params.max_bytes), start=1):
                if sample.key in met:
                    apart = f"key {sample.key!r} was there before: the members of a sample must stand together"
                    yield refused(f"{shard}#{number}", apart)  # no key: those follow a colon
                    continue
                met.add(sample.key)
                yield _sample(sample, shard, number, split, params, seen)
    except (RootError, ArchiveError) as error:
        yield refused(shard, f"{error}; {number} samples were read")


def _sample(
    sample: Sample, shard: str, number: int, split: str | None, params: Params, seen: dict[str, None]
) -> Record:
    place = f"{shard}:{sample.key}"
    image = next((name for name in params.image.split(";") if name in sample.fields), None)
    try:
        if sample.problem:
            raise RowError(sample.problem)
        if image is None:
            raise RowError(f"no image: the fields are {', '.join(sample.fields)}")
        cells = _cells(sample, shard, params)
        cells[params.image] = f"{place}.{image}"
        # The image's field is known by what is mapped, which may name several to try.
        seen.update(dict.fromkeys((*(name for name in sample.fields if name != image), *cells)))
        facts = columns.facts(Row(line=number, cells=cells), params)
    except RowError as error:
        return refused(place, error)
    if split is not None and facts.split not in (None, split):
        return refused(place, f"split {facts.split!r}, but the shard is listed as {split!r}")
    found = record([facts], sample.fields[image], place, captions=_captions(facts, params))
    return replace(found, image_name=f"{sample.key.rpartition('/')[2]}.{image}", split=split or found.split)


def _captions(facts: Facts, params: Params) -> list[Any]:
    made = caption(params.caption_template, facts, [facts], None, "") if params.caption_template else None
    return [*facts.captions, *([made] if made else [])]


def _cells(sample: Sample, shard: str, params: Params) -> dict[str, Any]:
    """The fields that columns are mapped to, as texts and objects."""
    cells: dict[str, Any] = {"__key__": sample.key, "__shard__": shard}
    for column in params.columns():
        name = next((name for name in columns.whole_names(column) if name in sample.fields), None)
        if name is not None and column != params.image and name not in cells:
            cells[name] = _value(name, sample.fields[name])
    return cells


def _value(name: str, content: bytes) -> Any:
    try:
        return json.loads(content) if name.endswith("json") else content.decode("utf-8-sig")
    except (ValueError, RecursionError) as error:
        raise RowError(f"field {name!r}: not {'JSON' if name.endswith('json') else 'UTF-8'} ({error})") from None
