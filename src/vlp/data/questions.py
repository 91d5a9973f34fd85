"""The questions of a split as flat tables, the answers that can be given, and questions drawn for a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlp.data.loading import Examples, TokenIds, draw


@dataclass(frozen=True, slots=True)
class Questions:
    """M questions of a split, image by image.

    ``row`` int64 [M], rising: whose image. ``code`` int64 [M]: the answer's number in the vocabulary, −1 for one
    that the vocabulary lacks. ``start`` int64 [rows + 1]: where each image's questions begin.
    """

    row: np.ndarray
    start: np.ndarray
    text: list[str]
    kind: list[str]
    answer: list[str]
    code: np.ndarray
    given: list[list[str]]
    """What each of several people answered; empty where the data has one answer a question."""

    def __len__(self) -> int:
        return len(self.text)


def questions(examples: Examples, answers: Sequence[str]) -> Questions:
    """Every question of the split.

    Args:
        examples: the split.
        answers: the vocabulary.

    Raises:
        ValueError: there is no question.
    """
    column = examples.table["questions"]
    flat = pc.list_flatten(column)
    if not len(flat):
        raise ValueError(
            f"{examples.folder}: split {examples.split!r} has no record with questions; the task vqa needs the field "
            "`questions` (a question and its answer): name its columns in the source, or take vqa out of `tasks`"
        )
    counts = pc.list_value_length(column).to_numpy()
    answer = pc.struct_field(flat, "answer")
    known = pc.index_in(answer, value_set=pa.array(list(answers), pa.string()))
    return Questions(
        row=np.repeat(np.arange(len(counts)), counts),
        start=np.concatenate([[0], np.cumsum(counts)]),
        text=pc.struct_field(flat, "text").to_pylist(),
        kind=pc.struct_field(flat, "type").to_pylist(),
        answer=answer.to_pylist(),
        code=pc.fill_null(known, -1).to_numpy().astype(np.int64),
        given=pc.struct_field(flat, "given").to_pylist(),
    )


def token_ids(examples: Examples) -> list[TokenIds]:
    """Token ids of every question of the split, in the order of ``questions``."""
    found = (ids for row in range(len(examples)) for ids in examples.ids("questions", "ids", row))
    return [ids for ids in found if ids is not None]


def vocabulary(counts: Mapping[str, int], most: int, min_count: int) -> list[str]:
    """The answers that can be given: the commonest of the train split, common ones first, ties by name."""
    enough = [answer for answer, count in counts.items() if count >= min_count]
    return sorted(enough, key=lambda answer: (-counts[answer], answer))[:most]


def draw_questions(
    examples: Examples, asked: Questions, rows: Sequence[int], wanted: int, rng: np.random.Generator
) -> tuple[list[TokenIds], list[int], list[int]]:
    """Some of each row's questions whose answer is in the vocabulary.

    Args:
        examples: the split.
        asked: its questions.
        rows: of the images.
        wanted: questions an image, or as many as it has.
        rng: what they are drawn with.

    Returns:
        Token ids, places in ``rows`` of the images they are about, and the answers' numbers.
    """
    ids: list[TokenIds] = []
    owner: list[int] = []
    code: list[int] = []
    for place, row in enumerate(rows):
        mine = examples.ids("questions", "ids", row)
        codes = asked.code[asked.start[row] : asked.start[row + 1]]
        known = np.flatnonzero(codes >= 0)
        for chosen in known[draw(len(known), wanted, rng)].tolist():
            text = mine[chosen]
            assert text is not None
            ids.append(text)
            owner.append(place)
            code.append(int(codes[chosen]))
    return ids, owner, code
