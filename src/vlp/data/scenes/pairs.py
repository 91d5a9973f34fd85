"""A true statement about a scene beside a minimal edit that is false of it.

**No language prior.** A model that sees texts only must not tell the true ones from the false ones. Each
sampler here draws the true statement and its edit so that the opposite draw, with the two exchanged, is
equally likely over all scenes. It rests on symmetries of the world:

* names of shapes, colours and sizes are exchangeable, so that changing one into any other leaves texts
  as likely as before;
* positions are symmetric under reflection and exchange of axes, and of two things each is as likely to
  be named first;
* where no symmetry helps (numbers; *as many* against *more*), two facts of one scene are drawn that
  differ in just the word to be edited, and chance decides which of them is told truly: with two circles
  and one star, "two circles" against "one circle" and "one star" against "two stars" are equally likely.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import permutations

from vlp.data.scenes.oracle import holds, in_direction, referents
from vlp.data.scenes.statements import (
    CompareNumber,
    CompareSize,
    Count,
    Direction,
    Exists,
    Is,
    Lead,
    Noun,
    Relation,
    Statement,
)
from vlp.data.scenes.world import COLOURS, MOST_THINGS, SHAPES, SIZES, Scene, Thing

Pair = tuple[Statement, Statement]
"""A true statement and its false edit."""

OPPOSITE: dict[Direction, Direction] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}
_VALUES: dict[str, tuple[str, ...]] = {"size": SIZES, "colour": COLOURS, "shape": SHAPES}
_BINDING = 0.6
"""Share of edits that take their new word from another thing of the scene: *red circle* into *blue
circle* where there is a blue star. They cannot be seen through by looking for a colour alone."""

_DESCRIPTIONS = (
    *(("colour", "shape"),) * 6,
    *(("shape",), ("colour",)) * 2,
    ("size", "shape"),
    ("size", "colour"),
    *(("size", "colour", "shape"),) * 2,
)


def describe(rng: random.Random, thing: Thing, scene: Scene, form: Sequence[str] | None = None) -> Noun | None:
    """A noun that fits ``thing`` and nothing else of ``scene``; None where the one drawn fits others too."""
    noun = _noun(thing, form or rng.choice(_DESCRIPTIONS))
    return noun if len(referents(noun, scene)) == 1 else None


def _noun(thing: Thing, form: Sequence[str]) -> Noun:
    return Noun(*(getattr(thing, field) if field in form else None for field in _VALUES))


def _form(noun: Noun) -> tuple[str, ...]:
    return tuple(field for field in _VALUES if getattr(noun, field) is not None)


def edit(
    rng: random.Random, noun: Noun, scene: Scene, accept: Callable[[Noun], bool], among: Sequence[str] = ()
) -> Noun | None:
    """``noun`` with one property (of ``among``) changed so that ``accept`` agrees; None where none will do."""
    fields = list(among or _form(noun))
    rng.shuffle(fields)
    for field in fields:
        changed = [having(noun, field, value) for value in _VALUES[field] if value != getattr(noun, field)]
        fitting = [other for other in changed if accept(other)]
        present = {getattr(thing, field) for thing in scene.things}
        bound = [other for other in fitting if getattr(other, field) in present]
        if bound and rng.random() < _BINDING:
            return rng.choice(bound)
        if fitting:
            return rng.choice(fitting)
    return None


def having(noun: Noun, field: str, value: str) -> Noun:
    """``noun`` with this value of one property."""
    return Noun(*(value if name == field else getattr(noun, name) for name in _VALUES))  # type: ignore[arg-type]


def attribute(rng: random.Random, scene: Scene) -> Pair | None:
    """What there is, and what a thing is like."""
    way = rng.random()
    sampler = exists if way < 0.5 else _is if way < 0.75 else _two
    return sampler(rng, scene)


def exists(rng: random.Random, scene: Scene) -> Pair | None:
    """*There is a red circle* against *there is a red star*."""
    noun = _noun(rng.choice(scene.things), rng.choice(_DESCRIPTIONS))
    other = edit(rng, noun, scene, lambda changed: not referents(changed, scene))
    return None if other is None else (Exists((noun,)), Exists((other,)))


def _is(rng: random.Random, scene: Scene) -> Pair | None:
    """*The circle is red* against *the circle is blue*."""
    thing = rng.choice(scene.things)
    field = rng.choice(("colour", "colour", "shape", "size"))
    form = [name for name in rng.choice(_DESCRIPTIONS) if name != field]
    noun = describe(rng, thing, scene, form) if form else None
    if noun is None:
        return None
    value = _noun(thing, (field,))
    other = edit(rng, value, scene, lambda changed: changed != value)
    return None if other is None else (Is(noun, value), Is(noun, other))


def _two(rng: random.Random, scene: Scene) -> Pair | None:
    """Two things; both exchange their colours, or one of them gets another colour or shape.

    Edited is a property in which the two differ, and they still differ in it afterwards: that the two
    agree in something must say nothing.
    """
    if len(scene.things) < 2:
        return None
    one, two = (_noun(thing, ("colour", "shape")) for thing in rng.sample(scene.things, 2))
    true = Exists((one, two))
    fields = [field for field in ("colour", "shape") if getattr(one, field) != getattr(two, field)]
    if len(fields) == 2 and rng.random() < _BINDING:
        false = Exists((having(one, "colour", two.colour or ""), having(two, "colour", one.colour or "")))
        return None if holds(false, scene) else (true, false)
    if not fields:
        return None
    field, first = rng.choice(fields), rng.random() < 0.5
    kept = getattr(two if first else one, field)

    def combine(changed: Noun) -> Exists:
        return Exists((changed, two) if first else (one, changed))

    def accept(changed: Noun) -> bool:
        return getattr(changed, field) != kept and not holds(combine(changed), scene)

    other = edit(rng, one if first else two, scene, accept, (field,))
    return None if other is None else (true, combine(other))


def relation(rng: random.Random, scene: Scene) -> Pair | None:
    """Edited is the direction, the order of the two things, or the second thing."""
    if len(scene.things) < 2:
        return None
    one, two = rng.sample(scene.things, 2)
    ways = [way for way in OPPOSITE if in_direction(one, way, two, scene)]
    a, b = describe(rng, one, scene), describe(rng, two, scene)
    if not ways or a is None or b is None:
        return None
    way = rng.choice(ways)
    true, chance = Relation(a, way, b), rng.random()
    if chance < 0.3:
        return true, Relation(b, way, a)
    across = [thing for thing in scene.things if in_direction(one, OPPOSITE[way], thing, scene)]
    other = describe(rng, rng.choice(across), scene, _form(b)) if across and chance < 0.6 else None
    if other is not None:
        return true, Relation(a, way, other)
    return true, Relation(a, OPPOSITE[rng.choice(ways)], b)


def count(rng: random.Random, scene: Scene) -> Pair | None:
    """Edited is the number of all things, the number of some, or what is counted.

    Numbers of all things are drawn first and then held against the scene, once: were they drawn again until
    they fit, scenes that offer little else would tell their own number more often than others do.
    """
    way = rng.random()
    number = rng.choice(range(2, MOST_THINGS))
    if way < 0.25 and len(scene.things) in (number, number + 1):
        true, false = (number, number + 1) if len(scene.things) == number else (number + 1, number)
        return Count("exactly", true, Noun()), Count("exactly", false, Noun())
    form = rng.choice((("shape",), ("shape",), ("colour",), ("colour",), ("size",), ("colour", "shape")))
    counts = Counter(_noun(thing, form) for thing in scene.things)
    one, two = rng.choice(list(counts)), rng.choice(list(counts))
    if way < 0.75 and counts[one] != counts[two]:
        return Count("exactly", counts[one], one), Count("exactly", counts[two], one)
    return _count_others(rng, scene, form) or _count_others(rng, scene, ("shape",))


def _count_others(rng: random.Random, scene: Scene, form: Sequence[str]) -> Pair | None:
    """*Two circles* against *two squares*; None where all sizes are as frequent as each other."""
    counts = Counter(_noun(thing, form) for thing in scene.things)
    one = rng.choice(list(counts))
    other = edit(rng, one, scene, lambda changed: counts[changed] != counts[one])
    if other is None:
        return None
    many, few = sorted((one, other), key=lambda noun: counts[noun], reverse=True)
    quantifier = rng.choice(("exactly", "exactly", "at least", "at most"))
    if quantifier == "at least":
        return Count("at least", counts[many], many), Count("at least", counts[many], few)
    if quantifier == "at most" and counts[few] > 0:
        return Count("at most", counts[few], few), Count("at most", counts[few], many)
    return Count("exactly", counts[one], one), Count("exactly", counts[one], other)


def comparison(rng: random.Random, scene: Scene) -> Pair | None:
    """*More circles than stars* against *fewer*; *the circle is larger than the star* against *smaller*."""
    return _compare_size(rng, scene) if rng.random() < 0.4 else _compare_number(rng, scene)


def _compare_size(rng: random.Random, scene: Scene) -> Pair | None:
    """Descriptions leave the size out: it would give the answer away."""
    if len(scene.things) < 2:
        return None
    one, two = rng.sample(scene.things, 2)
    form = [name for name in rng.choice(_DESCRIPTIONS) if name != "size"]
    a, b = describe(rng, one, scene, form), describe(rng, two, scene, form)
    if one.size == two.size or a is None or b is None:
        return None
    true = CompareSize(a, "larger" if one.size == "large" else "smaller", b)
    if rng.random() < 0.5:
        return true, CompareSize(b, true.how, a)
    return true, CompareSize(a, "smaller" if true.how == "larger" else "larger", b)


def _compare_number(rng: random.Random, scene: Scene) -> Pair | None:
    """*More circles than stars* against *fewer*, the reverse, or *as many*."""
    form = rng.choice((("shape",), ("colour",), ("size",)))
    counts = Counter(_noun(thing, form) for thing in scene.things)
    pairs = list(permutations(counts, 2))
    unequal = [(a, b) for a, b in pairs if counts[a] != counts[b]]
    equal = [(a, b) for a, b in pairs if counts[a] == counts[b]]
    if not unequal:
        return None
    a, b = rng.choice(unequal)
    how: Lead = "more" if counts[a] > counts[b] else "fewer"
    true, chance = CompareNumber(a, how, b), rng.random()
    if chance < 0.3 and equal:
        if rng.random() < 0.5:
            return true, CompareNumber(a, "as many", b)
        a, b = rng.choice(equal)
        return CompareNumber(a, "as many", b), CompareNumber(a, how, b)
    if chance < 0.65:
        return true, CompareNumber(b, how, a)
    return true, CompareNumber(a, "fewer" if how == "more" else "more", b)


def negation(rng: random.Random, scene: Scene) -> Pair | None:
    """*There is no …* half the time; else the denial of an attribute or of a relation."""
    way = rng.random()
    if way < 0.5:
        noun = _noun(rng.choice(scene.things), rng.choice(_DESCRIPTIONS))
        absent = edit(rng, noun, scene, lambda changed: not referents(changed, scene))
        return None if absent is None else (Exists((absent,), negated=True), Exists((noun,), negated=True))
    pair = (_is if way < 0.75 else relation)(rng, scene)
    return None if pair is None else (_deny(pair[1]), _deny(pair[0]))


def _deny(statement: Statement) -> Statement:
    if isinstance(statement, Is):
        return Is(statement.noun, statement.value, negated=True)
    assert isinstance(statement, Relation)
    return Relation(statement.a, statement.direction, statement.b, negated=True)


SAMPLERS: dict[str, Callable[[random.Random, Scene], Pair | None]] = {
    "attribute": attribute,
    "relation": relation,
    "count": count,
    "comparison": comparison,
    "negation": negation,
}
"""What draws a pair of each kind, or None where the scene, or this draw, has none."""
