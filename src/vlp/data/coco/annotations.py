"""Annotation files of COCO's kind, brought together picture by picture.

An entry that cannot be used is kept as a ``Refusal``; what is not wanted is counted. The files are JSON and read
whole: memory is about eight times the largest file, whatever the pictures weigh.

Sources: COCO, https://cocodataset.org/#format-data; VQA v2, https://visualqa.org/vqa_v2_teaser.html; RefCOCO
(Yu et al. 2016, https://arxiv.org/abs/1608.00272).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vlp.data.raw.columns import SPLITS, RowError, answer_type, whole_text
from vlp.data.raw.root import Root, RootError
from vlp.records import Caption, Question

Entry = dict[str, Any]
REFERENCE_SPLITS = {**SPLITS, "testa": "test", "testb": "test", "testc": "test"}


@dataclass(slots=True)
class Thing:
    """One instance: its category and its segmentation as found (None: it has none), by the place of its annotation."""

    place: str
    category: str
    segmentation: Any


@dataclass(slots=True)
class Picture:
    """One image and all that the files say of it."""

    name: str
    """The file's path below the root."""
    id: int
    width: int = 0
    """Pixels; 0 where no file says it. So is height."""
    height: int = 0
    split: str | None = None
    captions: list[Caption] = field(default_factory=list)
    labels: dict[str, None] = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)
    things: dict[int, Thing] = field(default_factory=dict)
    expressions: list[tuple[str, str, int]] = field(default_factory=list)
    """The place of a reference, an expression, and the id of the thing that it names."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry that cannot be used: where it stands and what is wrong with it."""

    place: str
    problem: str


class EntryError(ValueError):
    """One entry cannot be used; it becomes a ``Refusal``."""


@dataclass(slots=True)
class Annotations:
    """The pictures of one part of a data set, filled file by file.

    ``root`` and ``max_bytes`` say where the files are and how large one may be; ``folder`` is that of the pictures, and
    ``image_name`` makes a picture's name of ``image_id``, for files that list no images.
    """

    root: Root
    max_bytes: int
    folder: str
    image_name: str | None = None
    pictures: dict[int, Picture] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    """The id of each picture, by its path: two ids of one file would be one record twice."""
    refused: list[Refusal] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)

    def add_captions(self, file: str) -> None:
        """``captions_*.json``: texts of pictures."""
        content = self._open(file)
        self._list_images(file, content)

        def use(_: str, entry: Entry, picture: Picture) -> None:
            picture.captions.append(Caption(text=_text(entry, "caption")))

        self._each(file, _list(content, "annotations", file), "annotations", use)

    def add_questions(self, file: str, answers: str) -> None:
        """VQA's questions and the answers to them, which name each other by ``question_id``."""
        content = self._open(file)
        self._list_images(file, content)
        solutions = self._solutions(answers)
        asked = set()

        def use(_: str, entry: Entry, picture: Picture) -> None:
            number = _number(entry, "question_id")
            asked.add(number)
            if number in solutions:
                answer, kind, given = solutions[number]
                question = Question(text=_text(entry, "question"), answer=answer, type=kind, given=given)
                picture.questions.append(question)
            else:
                self.ignored[f"{file}: questions without an answer"] += 1

        self._each(file, _list(content, "questions", file), "questions", use)
        if spare := len(solutions.keys() - asked):
            self.ignored[f"{answers}: answers without a question"] += spare

    def _solutions(self, file: str) -> dict[int, tuple[str, str, tuple[str, ...]]]:
        """Answer, its type and what each person answered, by question."""
        found = {}
        for number, entry in enumerate(_list(self._open(file), "annotations", file)):
            try:
                answer, kind = _text(entry, "multiple_choice_answer").strip(), entry.get("answer_type")
                kind = _whole(kind, "answer_type") if isinstance(kind, str) else answer_type(answer)
                found[_number(entry, "question_id")] = answer, kind, _given(entry)
            except EntryError as error:
                self._refuse(f"{file}: annotations[{number}]", error)
        return found

    def add_instances(self, file: str) -> None:
        """``instances_*.json``: things with categories and segmentations."""
        content = self._open(file)
        self._list_images(file, content)
        categories: dict[int, str] = {}
        for number, entry in enumerate(_list(content, "categories", file)):
            try:
                categories[_number(entry, "id")] = _text(entry, "name")
            except EntryError as error:
                self._refuse(f"{file}: categories[{number}]", error)

        def use(place: str, entry: Entry, picture: Picture) -> None:
            if (category := categories.get(_number(entry, "category_id"))) is None:
                raise EntryError(f"category_id {entry['category_id']}: there is no such category")
            if (number := _number(entry, "id")) in picture.things:
                raise EntryError(f"id {number}: {picture.things[number].place} has it already")
            picture.labels[category] = None
            if not (segmentation := entry.get("segmentation")):  # boxes only, as many tools write
                self.ignored[f"{file}: things with a box and no mask; their categories are labels, but no regions"] += 1
            picture.things[number] = Thing(place, category, segmentation or None)

        self._each(file, _list(content, "annotations", file), "annotations", use)

    def add_expressions(self, file: str) -> None:
        """References of RefCOCO's kind as JSON: image_id, ann_id, sentences and, where there is one, the split."""
        if file.endswith((".p", ".pkl", ".pickle")):
            raise RootError(f"{file}: a pickle can run code as it is read; convert the list of references to JSON")
        content = self._open(file)

        def use(place: str, entry: Entry, picture: Picture) -> None:
            thing, sentences = _number(entry, "ann_id"), entry.get("sentences")
            if thing not in picture.things:
                raise EntryError(f"ann_id {thing}: no instance of this picture; is instances set?")
            if picture.things[thing].segmentation is None:
                raise EntryError(f"ann_id {thing}: it has no segmentation, so there is no mask to learn")
            if not isinstance(sentences, list):
                raise EntryError("sentences: expected a list")
            texts = [_sentence(each) for each in sentences]
            self._reference_split(picture, entry.get("split"))
            picture.expressions.extend((place, text, thing) for text in texts)

        self._each(file, content if isinstance(content, list) else _list(content, "refs", file), "refs", use)

    def _reference_split(self, picture: Picture, name: Any) -> None:
        if name is None:
            return
        split = REFERENCE_SPLITS.get(str(name).lower())
        if split is None:
            raise EntryError(f"split {name!r} is none of train, val, test, testA, testB")
        if picture.split not in (None, split):
            raise EntryError(f"split {name!r}, but the picture is in {picture.split!r}")
        picture.split = split

    def _open(self, file: str) -> Any:
        data, problem = self.root.read(file, self.max_bytes)
        if problem:
            raise RootError(f"{file}: {problem.replace('max_bytes', 'max_annotation_bytes')}")
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise RootError(f"{file}: not valid JSON ({error})") from None

    def _list_images(self, file: str, content: Any) -> None:
        if not isinstance(content, dict):
            raise RootError(f"{file}: expected an object, found {type(content).__name__}")
        for number, entry in enumerate(_list(content, "images", file) if "images" in content else ()):
            try:
                identity, name = _number(entry, "id"), _text(entry, "file_name")
                picture = self.pictures.get(identity) or self._new(identity, name)
                if picture.name != f"{self.folder}/{name}".lstrip("/"):
                    raise EntryError(f"id {identity}: file_name {name!r}, but it was {picture.name!r} before")
                if "width" in entry or "height" in entry:
                    picture.width, picture.height = _number(entry, "width"), _number(entry, "height")
            except EntryError as error:
                self._refuse(f"{file}: images[{number}]", error)

    def _each(self, file: str, entries: list[Any], key: str, use: Callable[[str, Entry, Picture], None]) -> None:
        """``use`` the place, the entry and the picture of each entry; what it cannot use is refused."""
        for number, entry in enumerate(entries):
            place = f"{file}: {key}[{number}]"
            try:
                if (picture := self._picture(_number(entry, "image_id"))) is None:
                    self.ignored[f"{file}: {key} of pictures that are not listed"] += 1
                else:
                    use(place, entry, picture)
            except EntryError as error:
                self._refuse(place, error)

    def _picture(self, identity: int) -> Picture | None:
        if identity not in self.pictures and self.image_name is not None:
            return self._new(identity, self.image_name.format(image_id=identity))
        return self.pictures.get(identity)

    def _new(self, identity: int, name: str) -> Picture:
        picture = Picture(f"{self.folder}/{name}".lstrip("/"), identity)
        if (first := self.names.setdefault(picture.name, identity)) != identity:
            raise EntryError(f"id {identity}: file_name {name!r} is that of id {first} already")
        self.pictures[identity] = picture
        return picture

    def _refuse(self, place: str, error: EntryError) -> None:
        self.refused.append(Refusal(place, str(error)))


def _list(content: Any, key: str, file: str) -> list[Any]:
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise RootError(f"{file}: no list {key!r}; is it the right file?")
    return found


def _number(entry: Any, key: str) -> int:
    value = entry.get(key) if isinstance(entry, dict) else None
    if type(value) is not int or not 0 <= value < 2**63:
        raise EntryError(f"{key}: expected a whole number, found {value!r:.60}")
    return value


def _text(entry: Any, key: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str):
        raise EntryError(f"{key}: expected text, found {value!r:.60}")
    return _whole(value, key)


def _given(entry: Entry) -> tuple[str, ...]:
    """What each person answered; a test set's own list may be missing."""
    answers = entry.get("answers", [])
    if not isinstance(answers, list):
        raise EntryError(f"answers: expected a list, found {answers!r:.60}")
    return tuple(each if isinstance(each, str) else _text(each, "answer") for each in answers)


def _sentence(entry: Any) -> str:
    """RefCOCO's own sentences are objects, with the text as ``sent``, or as ``raw`` before their cleaning."""
    if isinstance(entry, str):
        return _whole(entry, "sentences")
    return _text(entry, "sent" if isinstance(entry, dict) and "sent" in entry else "raw")


def _whole(text: str, key: str) -> str:
    try:
        return whole_text(text, key)
    except RowError as error:
        raise EntryError(str(error)) from None
