"""Captions made of columns, for data that has questions and answers but no captions, and their false twins."""

from __future__ import annotations

import hashlib
import string
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from vlp.data.raw.columns import OTHER, YES_NO, Facts
from vlp.preprocessing.answers import plain
from vlp.records import Caption


def stable_hash(text: str) -> int:
    """64 bits of ``text``, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def fill(template: str, cells: Mapping[str, str]) -> str:
    """``template`` with each ``{column}`` replaced by its cell."""
    parts = string.Formatter().parse(template)
    return "".join(literal + (cells[name] if name is not None else "") for literal, name, _, _ in parts)


def _question_of(row: Facts, column: str) -> tuple[str, ...]:
    return tuple(value for name, value in row.template.items() if name != column)


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one column of the template in the whole table: what a negative may say instead."""

    column: str
    same_question: dict[tuple[str, ...], set[str]] = field(default_factory=lambda: defaultdict(set))
    """Values that stand beside the same other columns of the template."""
    same_type: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, row: Facts) -> None:
        """Note the value of ``row``."""
        if row.template:
            self.same_question[_question_of(row, self.column)].add(row.template[self.column])
            if row.question and row.question.type != OTHER:
                self.same_type[row.question.type].add(row.template[self.column])

    def other(self, row: Facts, rows: list[Facts], choice: str) -> str | None:
        """A value that makes the template of ``row`` false of the image; None where the table has none.

        Values given to the same question come first, else those given to the same type of question. What
        any row of the image says is never taken, for a paraphrase may ask the same; only yes and no exclude
        each other question by question.

        Args:
            row: the true row.
            rows: every row of its image.
            choice: decides among several, the same way each time.
        """
        question = _question_of(row, self.column)
        said = [each for each in rows if each.template]
        true = {plain(each.template[self.column]) for each in said} - YES_NO
        true |= {plain(each.template[self.column]) for each in said if _question_of(each, self.column) == question}
        type_of = row.question.type if row.question else ""
        for pool in (self.same_question.get(question, set()), self.same_type.get(type_of, set())):
            if candidates := sorted(value for value in pool if plain(value) not in true):
                return candidates[stable_hash(choice) % len(candidates)]
        return None


def caption(template: str, row: Facts, rows: list[Facts], values: Values | None, choice: str) -> Caption | None:
    """The caption that ``template`` makes of ``row``; None where the row lacks one of its columns.

    Args:
        template: text with columns in braces.
        row: the row that the caption says.
        rows: every row of the same image.
        values: what its negative may say; None: no negative.
        choice: decides among several negatives, together with the caption's text.
    """
    if not row.template:
        return None
    text = fill(template, row.template)
    kind = row.question.type if row.question else ""
    other = values.other(row, rows, f"{choice} {text}") if values else None
    if values is None or other is None:
        return Caption(text=text, kind=kind)
    return Caption(text=text, negative=fill(template, {**row.template, values.column: other}), kind=kind)
