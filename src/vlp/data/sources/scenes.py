"""The embedded data set: procedural pictures with language, made on the spot, a share of them dirty.

Record ``i`` depends on the seed, the parameters and ``i`` alone, so that any number of processes makes the
same bytes. Labels are the shapes and the colours that the picture shows.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import Field

from vlp.data.parallel import ordered_map
from vlp.data.scenes.captions import KindMix, captions
from vlp.data.scenes.render import render
from vlp.data.scenes.world import COLOURS, SHAPES, Scene, sample, stream
from vlp.params import Section
from vlp.records import Record


class Params(Section):
    """``sources.scenes`` of ``params.yaml``."""

    records: int = Field(gt=0, le=10_000_000, description="records in all, dirty ones included")
    image_size: int = Field(ge=48, le=128, description="side of a picture in pixels; made for 64 to 96")
    captions: int = Field(ge=1, le=16, description="statements a picture, each with a false minimal edit")
    faults: float = Field(ge=0, le=0.5, description="share of records made dirty, as collected data is")
    jpeg: float = Field(0.15, ge=0, le=1, description="share of pictures stored as JPEG; the others are PNG")
    kinds: KindMix = Field(KindMix(), description="how often each kind of statement is drawn")


def read(root: Path, params: Params, seed: int) -> Iterator[Record]:
    """Make the records, in order, on all cores.

    Args:
        root: not read: this source needs no files.
        params: how many and what.
        seed: of everything.
    """
    del root
    yield from ordered_map(partial(record, params=params, seed=seed), range(params.records))


def record(index: int, *, params: Params, seed: int) -> Record:
    """Record number ``index``."""
    scene = sample(stream(seed, index, "scene"), params.image_size)
    image, extension = _encode(stream(seed, index, "file"), render(scene), params.jpeg)
    return Record(
        id=f"scenes-{index:06d}",
        image=image,
        image_name=f"{index:06d}.{extension}",
        captions=captions(stream(seed, index, "captions"), scene, params.captions, params.kinds),
        group=f"scenes-{index:06d}",
        labels=_labels(scene),
        annotation=scene.to_json(),
    )


def _encode(rng: random.Random, pixels: np.ndarray, jpeg: float) -> tuple[bytes, str]:
    buffer, picture = io.BytesIO(), Image.fromarray(pixels)
    if rng.random() < jpeg:
        picture.save(buffer, "JPEG", quality=rng.randint(92, 97), subsampling=0)
        return buffer.getvalue(), "jpg"
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), "png"


def _labels(scene: Scene) -> tuple[str, ...]:
    shown = {thing.shape for thing in scene.things} | {thing.colour for thing in scene.things}
    return tuple(name for name in (*SHAPES, *COLOURS) if name in shown)
