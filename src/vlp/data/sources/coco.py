"""Data in COCO's format: captions, VQA v2 questions, instances and RefCOCO-style expressions with masks.

Instances become labels and, category by category, regions: the mask of "dog" is that of all dogs of the picture. An
expression's region is the one thing that it names. Pictures of one id are one group, for COCO's parts were cut
from one collection.
"""

from __future__ import annotations

import logging
import string
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator, Field, field_validator, model_validator

from vlp.data.coco.annotations import Annotations, Picture
from vlp.data.coco.masks import MaskError, header_size, png, rasterise
from vlp.data.parallel import TOO_FEW_FOR_PROCESSES, ordered_map
from vlp.data.raw.columns import SPLITS, refused
from vlp.data.raw.root import Place, Root, RootError, open_root
from vlp.params import Section
from vlp.records import Record, Region

logger = logging.getLogger(__name__)

PICTURES_AT_ONCE = 8
"""That a process reads before it sends their records back."""


def _several(value: object) -> object:
    if value is not None and not isinstance(value, str | list | tuple):
        raise ValueError("expected a file or a list of files")
    return (value,) if isinstance(value, str) else tuple(value or ())


Files = Annotated[tuple[str, ...], BeforeValidator(_several)]
"""One file, a list of them (RefCOCO, RefCOCO+ and RefCOCOg speak of the same pictures), or null."""


class Part(Section):
    """One folder of pictures and the annotation files about them, all below ``ingest.root``."""

    images: str = Field("", description="folder of the pictures")
    split: str | None = Field(None, description="train, validation or test; null: by hash, or as expressions say")
    captions: Files = Field((), description="captions_*.json")
    instances: Files = Field((), description="instances_*.json")
    expressions: Files = Field((), description="RefCOCO's references as JSON; needs instances")
    questions: str | None = Field(None, description="VQA's questions")
    answers: str | None = Field(None, description="VQA's annotations, which hold the answers")
    image_name: str | None = Field(
        None, description='names of pictures that no file lists: "COCO_train2014_{image_id:012d}.jpg"'
    )

    @field_validator("split")
    @classmethod
    def _known_split(cls, value: str | None) -> str | None:
        if value is not None and value not in SPLITS.values():
            raise ValueError("expected train, validation or test")
        return value

    @field_validator("image_name")
    @classmethod
    def _numbered(cls, value: str | None) -> str | None:
        if value is not None:
            holes = [name for _, name, _, _ in string.Formatter().parse(value) if name is not None]
            if holes != ["image_id"]:
                raise ValueError("expected {image_id} once, and nothing else in braces")
            value.format(image_id=1)
        return value

    @model_validator(mode="after")
    def _agrees(self) -> Part:
        if not (self.captions or self.instances or self.questions):
            raise ValueError("name captions, instances or questions")
        if (self.questions is None) != (self.answers is None):
            raise ValueError("map questions and answers, or neither")
        if self.expressions and not self.instances:
            raise ValueError("expressions name instances: map instances")
        return self


class Params(Place):
    """``sources.coco`` of ``params.yaml``."""

    parts: tuple[Part, ...] = Field(min_length=1, description="folders of pictures with their files")
    labels: bool = Field(True, description="the categories of a picture's instances are its labels")
    regions: bool = Field(True, description="each category of a picture is a region: the mask of all its things")
    max_pixels: int = Field(50_000_000, gt=0, description="width times height of a picture that gets masks")
    max_annotation_bytes: int = Field(2 * 2**30, gt=0, description="bytes of an annotation file, which is read whole")


def read(root: Path, params: Params, seed: int) -> Iterator[Record]:
    """A record a picture, part by part, in the order that the files list them; entries that cannot be used follow.

    Args:
        root: of the pictures and the files.
        params: which files say what.
        seed: not read.

    Raises:
        ValueError: a file is missing, is no JSON, or lists no pictures.
    """
    del seed
    raw = open_root(root, params.remote)
    for part in params.parts:
        found = _annotations(raw, part, params)
        if not found.pictures:
            listed = ", ".join((*part.captions, *part.instances, *filter(None, [part.questions])))
            raise RootError(f"{listed}: no picture; set image_name?")
        for kind, count in sorted(found.ignored.items()):
            logger.warning("ignored: %s (%d)", kind, count)
        made = partial(_records, raw, part, params)
        # Records come back with the bytes of their pictures, which may be photographs: few wait at a time.
        pictures = found.pictures.values()
        yield from _flat(ordered_map(made, pictures, at_once=PICTURES_AT_ONCE, few=TOO_FEW_FOR_PROCESSES))
        yield from (refused(entry.place, entry.problem) for entry in found.refused)


def _annotations(raw: Root, part: Part, params: Params) -> Annotations:
    found = Annotations(raw, params.max_annotation_bytes, part.images, part.image_name)
    for file in part.captions:
        found.add_captions(file)
    for file in part.instances:
        found.add_instances(file)
    for file in part.expressions:
        found.add_expressions(file)
    if part.questions and part.answers:
        found.add_questions(part.questions, part.answers)
    return found


def _flat(found: Iterator[list[Record]]) -> Iterator[Record]:
    for records in found:
        yield from records


def _records(raw: Root, part: Part, params: Params, picture: Picture) -> list[Record]:
    """The picture's record, then one for each segmentation and reference that cannot be used."""
    image, problem = raw.read(picture.name, params.max_bytes)
    regions, broken = _regions(image, picture, params) if image else ([], [])
    record = Record(
        id=picture.name,
        image=image,
        image_name=PurePosixPath(picture.name).name,
        captions=tuple(dict.fromkeys(picture.captions)),
        group=_group(picture),
        split=part.split or picture.split,
        labels=tuple(picture.labels) if params.labels else (),
        questions=tuple(dict.fromkeys(picture.questions)),
        regions=tuple(regions),
        fault=f"image {picture.name!r}: {problem}" if problem else None,
    )
    return [record, *broken]


def _group(picture: Picture) -> str:
    """COCO's own pictures are named by their number, under which any part has the same one; those of others are
    often numbered part by part.
    """
    own = PurePosixPath(picture.name).stem.endswith(f"{picture.id:012d}")
    return f"image {picture.id}" if own else f"image {picture.name}"


def _regions(image: bytes, picture: Picture, params: Params) -> tuple[list[Region], list[Record]]:
    """The picture's regions, and what cannot be used; memory holds two masks, whatever the picture has."""
    told = {thing for _, _, thing in picture.expressions}
    bare = {thing.category for thing in picture.things.values() if thing.segmentation is None}
    wanted = {
        number: thing
        for number, thing in picture.things.items()
        if thing.segmentation is not None and (params.regions or number in told)
    }
    if wanted and (problem := _size_problem(image, picture, params.max_pixels)):
        return [], [refused(thing.place, problem) for thing in wanted.values()]
    by_category: dict[str, list[int]] = {}
    for number, thing in wanted.items():
        by_category.setdefault(thing.category, []).append(number)
    of_categories: list[Region] = []
    of_things: dict[int, bytes] = {}
    broken: dict[int, Record] = {}
    for category, numbers in by_category.items():
        whole: np.ndarray | None = None
        for number in numbers:
            try:
                mask = rasterise(picture.things[number].segmentation, picture.width, picture.height)
            except MaskError as error:
                broken[number] = refused(picture.things[number].place, error)
                continue
            if number in told:
                of_things[number] = png(mask) if mask.any() else b""
            if params.regions:
                whole = mask if whole is None else np.logical_or(whole, mask, out=whole)
        # A category with a thing that has no mask would have a mask that is not of all its things.
        if whole is not None and whole.any() and broken.keys().isdisjoint(numbers) and category not in bare:
            of_categories.append(Region(expression=category, mask=png(whole)))
    named = [(expression, of_things[thing]) for _, expression, thing in picture.expressions if thing in of_things]
    regions = [*of_categories, *(Region(expression=expression, mask=mask) for expression, mask in named if mask)]
    empty = {place: thing for place, _, thing in picture.expressions if of_things.get(thing) == b""}
    return list(dict.fromkeys(regions)), [
        *(broken[number] for number in wanted if number in broken),
        *(refused(place, f"ann_id {thing}: its mask covers no pixel of the picture") for place, thing in empty.items()),
    ]


def _size_problem(image: bytes, picture: Picture, max_pixels: int) -> str:
    """Why no mask can be made for a picture of the size that its entry says; empty if one can."""
    if not (picture.width and picture.height):
        return f"no width and height of image {picture.id}: no mask can be made"
    said = f"{picture.width}×{picture.height} pixels"
    if picture.width * picture.height > max_pixels:
        return f"{said}, allowed {max_pixels} in all"
    found = header_size(image)
    # Which of the sides is the width as shown, the orientation behind the header says.
    if found is not None and sorted(found) != sorted((picture.width, picture.height)):
        return f"{said}, but the picture has {found[0]}×{found[1]}"
    return ""
