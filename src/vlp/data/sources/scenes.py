"""The embedded data set: procedural pictures with language, made on the spot, a share of them dirty.

Record ``i`` depends on the seed, the parameters and ``i`` alone, so that any number of processes makes the
same bytes. Labels are the shapes and the colours that the picture shows.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from PIL import Image
from pydantic import Field

from vlp.data.parallel import ordered_map
from vlp.data.scenes.captions import KindMix, captions
from vlp.data.scenes.codec import jpeg, png
from vlp.data.scenes.faults import Clean, Fault, copy_nearly, plan, spoil_image, spoil_text
from vlp.data.scenes.oracle import truth
from vlp.data.scenes.questions import questions, regions
from vlp.data.scenes.render import render
from vlp.data.scenes.world import COLOURS, SHAPES, Scene, sample, stream
from vlp.params import Section
from vlp.records import Caption, Record, Region

Row = dict[str, str]
"""One injected fault: ``record``, ``field``, ``fault`` and, for what stems from another record, ``of``."""


class Params(Section):
    """``sources.scenes`` of ``params.yaml``."""

    records: int = Field(gt=0, le=10_000_000, description="records in all, dirty ones included")
    image_size: int = Field(ge=48, le=256, description="side of a picture in pixels; made for 64 to 96")
    captions: int = Field(ge=1, le=16, description="statements a picture, each with a false minimal edit")
    questions: int = Field(4, ge=0, le=16, description="questions a picture, their types in turn")
    regions: int = Field(2, ge=0, le=5, description="most referring expressions with masks a picture")
    faults: float = Field(ge=0, le=0.5, description="share of records made dirty, as collected data is")
    jpeg: float = Field(0.15, ge=0, le=1, description="share of pictures stored as JPEG; the others are PNG")
    kinds: KindMix = Field(KindMix(), description="how often each kind of statement is drawn")


def read(root: Path, params: Params, seed: int, start: int = 0) -> Iterator[Record]:
    """Make the records, in order, on all cores.

    Args:
        root: not read: this source needs no files.
        params: how many and what.
        seed: of everything.
        start: the first one to make.
    """
    del root
    yield from ordered_map(partial(record, params=params, seed=seed), range(start, params.records))


def injected_faults(params: Params, seed: int) -> Iterator[Row]:
    """The faults that ``read`` injects, one row a dirty record, in the records' order."""
    for index, fault in _plan(params.records, params.faults, seed).items():
        yield _spoilt(index, fault, params, seed)[1]


def record(index: int, *, params: Params, seed: int) -> Record:
    """Record number ``index``, dirty if it was chosen to be."""
    fault = _plan(params.records, params.faults, seed).get(index)
    return _clean(index, index, params, seed) if fault is None else _spoilt(index, fault, params, seed)[0]


@lru_cache(maxsize=4)
def _plan(records: int, share: float, seed: int) -> dict[int, Fault]:
    return plan(records, share, seed)


def _name(index: int) -> str:
    return f"scenes-{index:06d}"


def _clean(index: int, shown: int, params: Params, seed: int) -> Record:
    """A clean record: the picture of scene ``shown`` (a copy's is another's), the texts drawn for ``index``."""
    scene = _scene(shown, params, seed)
    picture, rng = Image.fromarray(render(scene)), stream(seed, shown, "file")
    stored = rng.random() < params.jpeg
    return Record(
        id=_name(index),
        image=jpeg(picture, rng.randint(92, 97)) if stored else png(picture),
        image_name=f"{index:06d}.{'jpg' if stored else 'png'}",
        captions=captions(stream(seed, index, "captions"), scene, params.captions, params.kinds),
        group=_name(index),
        labels=_labels(scene),
        questions=questions(stream(seed, index, "questions"), scene, params.questions),
        regions=regions(stream(seed, index, "regions"), scene, params.regions),
        annotation=scene.to_json(),
    )


def _scene(index: int, params: Params, seed: int) -> Scene:
    return sample(stream(seed, index, "scene"), params.image_size)


def _labels(scene: Scene) -> tuple[str, ...]:
    shown = {name for t in scene.things for name in (t.shape, t.colour, f"{t.colour} {t.shape}")}
    pairs = (f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
    return tuple(name for name in (*SHAPES, *COLOURS, *pairs) if name in shown)


def _spoilt(index: int, fault: Fault, params: Params, seed: int) -> tuple[Record, Row]:
    """The dirty record and what is to be listed of it."""
    clean = _clean(index, index if fault.source is None else fault.source, params, seed)
    rng = stream(seed, index, "fault")
    row = {"record": clean.id, "field": "image", "fault": fault.name}
    if fault.source is not None:
        row["of"] = _name(fault.source)
        return (clean if fault.name == "exact_duplicate" else _near_copy(clean, fault.source, rng, params, seed)), row
    if fault.field == "image":
        pixels = render(_scene(index, params, seed))
        image, extension = spoil_image(fault.name, Clean(rng=rng, pixels=pixels, image=clean.image))
        dirty = replace(clean, image=image, image_name=f"{index:06d}.{extension}")
        return (_shrink(dirty) if fault.name == "tiny" else dirty), row
    place = rng.randrange(len(clean.captions))
    caption, row["field"] = clean.captions[place], f"captions[{place}]"
    if fault.name == "contradicts_annotation":
        caption, other = _contradiction(clean, index, rng, params, seed)
        row["of"] = _name(other)
    caption = replace(caption, text=spoil_text(fault.name, rng, caption.text))
    return replace(clean, captions=(*clean.captions[:place], caption, *clean.captions[place + 1 :])), row


def _near_copy(clean: Record, shown: int, rng: random.Random, params: Params, seed: int) -> Record:
    image, extension, cut = copy_nearly(rng, render(_scene(shown, params, seed)))
    cropped = tuple(replace(region, mask=_crop(region, cut)) for region in clean.regions)
    return replace(clean, image=image, image_name=f"{clean.image_name[:-4]}.{extension}", regions=cropped)


def _crop(region: Region, cut: int) -> bytes:
    mask = Image.open(io.BytesIO(region.mask))
    return png(mask.crop((cut, cut, mask.width - cut, mask.height - cut)))


def _shrink(tiny: Record) -> Record:
    """Masks as small as the picture has become."""
    size = Image.open(io.BytesIO(tiny.image)).size
    small = (png(Image.open(io.BytesIO(region.mask)).resize(size)) for region in tiny.regions)
    return replace(
        tiny, regions=tuple(replace(region, mask=mask) for region, mask in zip(tiny.regions, small, strict=True))
    )


def _contradiction(clean: Record, index: int, rng: random.Random, params: Params, seed: int) -> tuple[Caption, int]:
    """A true caption of another record's picture that is false of this one's, and that record's number."""
    start = rng.randrange(params.records)
    for step in range(params.records):
        other = (start + step) % params.records
        if other == index:
            continue
        told = captions(stream(seed, other, "captions"), _scene(other, params, seed), params.captions, params.kinds)
        for caption in told:
            if truth(clean.annotation or "", caption.text) is False:
                return caption, other
    raise ValueError(
        f"sources.scenes: {clean.id}: no caption of the {params.records} records is false of it; raise records"
    )
