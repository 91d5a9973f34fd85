"""Class folders: each folder below the root is a class, each picture in it, however deep, one of that class.

The class is the record's label, and the captions are prompts that name it, as in CLIP's zero-shot
classification (Radford et al. 2021, https://arxiv.org/abs/2103.00020). Memory holds the files' names.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import Field, field_validator

from vlp.data.image_folder import classes
from vlp.data.raw.columns import SPLITS, refused
from vlp.data.raw.root import Place, Root, RootError, open_root
from vlp.records import Record

logger = logging.getLogger(__name__)


class Params(Place):
    """``sources.image_folder`` of ``params.yaml``."""

    prompts: tuple[str, ...] = Field(
        ("a photo of {a_label}",), description="captions: {label} is the class, {a_label} with its article"
    )
    negatives: bool = Field(True, description="each caption has a false twin that names another class")
    split_folders: bool = Field(False, description="the folders at the top are train, validation and test")
    class_names: str | None = Field(None, description="JSON object below the root, from folder to class")
    group_pattern: str | None = Field(
        None, description="regular expression whose first group, found in the path, must stay in one split"
    )
    extensions: tuple[str, ...] = Field(
        ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"), description="of files that are pictures"
    )

    @field_validator("prompts")
    @classmethod
    def _prompts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for prompt in value:
            if not classes.is_prompt(prompt):
                raise ValueError(f"expected {{label}} or {{a_label}} in {prompt!r}, and nothing else in braces")
        return value

    @field_validator("group_pattern")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        try:
            if value is not None and re.compile(value).groups < 1:
                raise ValueError("expected a group in parentheses")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value


def read(root: Path, params: Params, seed: int, start: int = 0) -> Iterator[Record]:
    """A record a picture, sorted by path; what is no picture of a class is counted in the log.

    Args:
        root: the folder of the class folders.
        params: what the folders mean.
        seed: chooses the classes that false twins name.
        start: pictures to pass over, unread.

    Raises:
        ValueError: there is no picture in a class folder, or a folder at the top is no split.
    """
    raw = open_root(root, params.remote)
    names = classes.read_names(raw, params.class_names) if params.class_names else {}
    pictures = _pictures(raw, params)
    known = sorted({_label(folder, names) for _, folder, _ in pictures if not _undecodable(folder)})
    if unused := sorted(names.keys() - {folder for _, folder, _ in pictures}):
        logger.warning("%s: no pictures of %d classes: %s", params.class_names, len(unused), ", ".join(unused[:10]))
    for name, folder, split in pictures[start:]:
        if _undecodable(name):
            yield refused(name, "the path is not UTF-8; rename it")
            continue
        label = _label(folder, names)
        others = [other for other in known if other != label] if params.negatives else []
        image, problem = raw.read(name, params.max_bytes)
        found = re.search(params.group_pattern, name) if params.group_pattern else None
        yield Record(
            id=name,
            image=image,
            image_name=PurePosixPath(name).name,
            captions=classes.captions(params.prompts, label, others, f"{seed} {name}"),
            group=(found[1] if found else None) or name,
            split=split,
            labels=(label,),
            fault=f"{name}: {problem}" if problem else None,
        )


def _undecodable(name: str) -> bool:
    """Whether a path has bytes that no text can hold; they reach us as lone surrogates."""
    return any("\ud800" <= letter <= "\udfff" for letter in name)


def _label(folder: str, names: dict[str, str]) -> str:
    return names.get(folder) or classes.words(folder) or folder


def _pictures(raw: Root, params: Params) -> list[tuple[str, str, str | None]]:
    """Path, class folder and split of every picture; the other files are counted in the log."""
    found, ignored = [], Counter[str]()
    for name in raw.files():
        *folders, file = parts = PurePosixPath(name).parts
        hidden = any(part.startswith(".") for part in parts)
        split = folders.pop(0) if params.split_folders and folders else None
        if hidden or name == params.class_names:
            ignored["hidden" if hidden else "class_names"] += 1
        elif (extension := PurePosixPath(file).suffix.lower().lstrip(".")) not in params.extensions:
            ignored[f".{extension}" if extension else "no extension"] += 1
        elif not folders:
            ignored["outside any class folder"] += 1
        elif split is not None and split.lower() not in SPLITS:
            raise RootError(
                f"{name}: the folder {split!r} is none of train, validation, test; set split_folders: false"
            )
        else:
            found.append((name, folders[0], SPLITS[split.lower()] if split else None))
    if ignored:
        logger.warning("ignored files: %s", ", ".join(f"{kind} ({count})" for kind, count in sorted(ignored.items())))
    if not found:
        raise RootError("no picture in a class folder; expected <root>/<class>/<picture>")
    if not params.split_folders and {folder.lower() for _, folder, _ in found} <= SPLITS.keys():
        logger.warning("the class folders are called as splits are; is split_folders: true meant?")
    return found
