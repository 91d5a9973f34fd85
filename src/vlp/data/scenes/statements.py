"""What can be said of a scene, as structured objects; ``grammar`` puts them into English and back.

A definite description (every noun of ``Is``, ``Relation`` and ``CompareSize``) presupposes exactly one
thing that it fits; ``oracle`` says what follows where there is none, or several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vlp.data.scenes.shapes import Shape
from vlp.data.scenes.world import Colour, Size

Direction = Literal["left of", "right of", "above", "below"]
Quantifier = Literal["exactly", "at least", "at most"]
Lead = Literal["more", "fewer", "as many"]
NUMBERS = ("zero", "one", "two", "three", "four", "five")


@dataclass(frozen=True, slots=True)
class Noun:
    """A description of things: None leaves a property open; ``Noun()`` is any thing."""

    size: Size | None = None
    colour: Colour | None = None
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """There is such a thing (for two nouns: two different things, one of each); or, negated, there is none."""

    nouns: tuple[Noun, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Is:
    """The one thing of this description is also (or, negated, is not) ``value``: a noun of one property."""

    noun: Noun
    value: Noun
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """The one thing ``a`` is (or is not) in this direction of the one thing ``b``."""

    a: Noun
    direction: Direction
    b: Noun
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """There are exactly, at least or at most so many things of this description; a bare number is exact."""

    quantifier: Quantifier
    number: int
    noun: Noun


@dataclass(frozen=True, slots=True)
class CompareNumber:
    """There are more, fewer or as many things of description ``a`` as of ``b``."""

    a: Noun
    how: Lead
    b: Noun


@dataclass(frozen=True, slots=True)
class CompareSize:
    """The one thing ``a`` is larger or smaller than the one thing ``b``."""

    a: Noun
    how: Literal["larger", "smaller"]
    b: Noun


Statement = Exists | Is | Relation | Count | CompareNumber | CompareSize
