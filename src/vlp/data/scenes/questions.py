"""Questions with answers, and referring expressions with masks.

A question of yes or no is a true statement or its false edit, by the toss of a coin, put as a question:
it inherits the captions' freedom of language prior. *What colour* and *what shape* have all names equally
often; *how many* is steered so that 0, 1, 2 and 3 are.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from PIL import Image

from vlp.data.scenes.codec import png
from vlp.data.scenes.grammar import Style, article
from vlp.data.scenes.pairs import Pair, comparison, describe, exists, having, relation
from vlp.data.scenes.statements import CompareNumber, CompareSize, Exists, Noun, Relation, Statement
from vlp.data.scenes.world import COLOURS, SHAPES, Scene, visible_masks
from vlp.records import Question, Region

_PATIENCE = 12
_EAGERNESS = {0: 1.0, 1: 1.3, 2: 3.0, 3: 60.0}
"""Weights of the answers that a scene offers: the rarer three of a kind, the more it is asked for. Fitted
to the world's sampler; the test of balance tells when it no longer fits."""
_EXISTS = ("is there {a}?", "does the picture show {a}?", "can you see {a}?")
_RELATION = ("is {the} {rel} {the2}?", "does {the} lie {rel} {the2}?")
_COMPARE_NUMBER = ("are there {how} {ns} {than} {ns2}?", "does the picture show {how} {ns} {than} {ns2}?")
_COMPARE_SIZE = ("is {the} {how} than {the2}?", "does {the} look {how} than {the2}?")
_HOW_MANY = ("how many {} are there?", "how many {} can you see?", "how many {} does the picture show?")
_WHAT = {
    "colour": ("what colour is {}?", "which colour does {} have?", "what is the colour of {}?"),
    "shape": ("what shape is {}?", "which shape does {} have?", "what is the shape of {}?"),
    "size": ("what size is {}?", "is {} small or large?", "what is the size of {}?"),
}


Asked = tuple[str, str]
"""A question and its answer."""


def questions(rng: random.Random, scene: Scene, count: int) -> tuple[Question, ...]:
    """Draw ``count`` different questions about ``scene``, their types in turn from a random start.

    A type that the scene has no question of (a relation, of one thing) gives way to ``exists``.
    """
    kinds = list(_SAMPLERS)
    rng.shuffle(kinds)
    drawn: dict[str, Question] = {}
    for number in range(count):
        kind = kinds[number % len(kinds)]
        for attempt in range(2 * _PATIENCE):
            found = _SAMPLERS[kind](rng, scene)
            if found is not None and found[0] not in drawn:
                drawn[found[0]] = Question(text=found[0], answer=found[1], type=kind)
                break
            if attempt >= _PATIENCE:
                kind = "exists"
    return tuple(drawn.values())


def ask(statement: Statement, style: int = 0) -> str:
    """Put ``statement`` as a question of yes or no (*is there a red circle?*).

    Args:
        statement: that there is one thing, a relation, or a comparison.
        style: any number: chooses the template and the synonyms, as for ``write``.
    """
    way = Style(style)
    match statement:
        case Exists((noun,), False):
            return way.template(_EXISTS).format(a=article(way.noun(noun)))
        case Relation(a, direction, b, False):
            template, how = way.template(_RELATION), way.word(direction)
        case CompareNumber(a, how, b):
            slots = {"ns": way.noun(a, plural=True), "ns2": way.noun(b, plural=True), "how": how}
            slots["than"] = "as" if how == "as many" else "than"
            return way.template(_COMPARE_NUMBER).format_map(slots)
        case CompareSize(a, how, b):
            template, how = way.template(_COMPARE_SIZE), way.word(how)
        case _:
            raise AssertionError(f"no question is made of {statement}")
    return template.format(the=f"the {way.noun(a)}", the2=f"the {way.noun(b)}", rel=how, how=how)


def _yes_or_no(
    sampler: Callable[[random.Random, Scene], Pair | None],
) -> Callable[[random.Random, Scene], Asked | None]:
    def draw(rng: random.Random, scene: Scene) -> Asked | None:
        pair = sampler(rng, scene)
        if pair is None:
            return None
        yes = rng.random() < 0.5
        return ask(pair[0 if yes else 1], rng.getrandbits(32)), "yes" if yes else "no"

    return draw


def _how_many(rng: random.Random, scene: Scene) -> Asked | None:
    if rng.random() < 0.15:
        noun, number = Noun(), len(scene.things)
    else:
        field, names = rng.choice((("shape", SHAPES), ("colour", COLOURS)))
        counts = Counter(getattr(thing, field) for thing in scene.things)
        numbers = sorted({counts[name] for name in names} & set(_EAGERNESS))
        number = rng.choices(numbers, [_EAGERNESS[number] for number in numbers])[0]
        noun = having(Noun(), field, rng.choice([name for name in names if counts[name] == number]))
    return rng.choice(_HOW_MANY).format(Style(rng.getrandbits(32)).noun(noun, plural=True)), str(number)


def _what(rng: random.Random, scene: Scene) -> Asked | None:
    thing = rng.choice(scene.things)
    asked = rng.choice(("colour", "colour", "shape", "shape", "size"))
    others = [field for field in ("size", "colour", "shape") if field != asked]
    noun = describe(rng, thing, scene, rng.choice((others, others[1:], others[-1:])))
    if noun is None:
        return None
    description = f"the {Style(rng.getrandbits(32)).noun(noun)}"
    return rng.choice(_WHAT[asked]).format(description), getattr(thing, asked)


_SAMPLERS: dict[str, Callable[[random.Random, Scene], Asked | None]] = {
    "exists": _yes_or_no(exists),
    "count": _how_many,
    "attribute": _what,
    "compare": _yes_or_no(comparison),
    "relation": _yes_or_no(relation),
}
TYPES = tuple(_SAMPLERS)
"""The types of question; each is a slice of the evaluation."""


def regions(rng: random.Random, scene: Scene, count: int) -> tuple[Region, ...]:
    """Up to ``count`` things of ``scene``, each by a description that fits it alone, with its exact visible mask.

    A thing with a twin of its size, colour and shape cannot be described and is left out.
    """
    order = list(range(len(scene.things)))
    rng.shuffle(order)
    described: list[tuple[int, Noun]] = []
    for index in order:
        if len(described) == count:
            break
        drawn = (describe(rng, scene.things[index], scene) for _ in range(_PATIENCE))
        noun = next(filter(None, drawn), None) or describe(rng, scene.things[index], scene, ("size", "colour", "shape"))
        if noun is not None:
            described.append((index, noun))
    masks = visible_masks(scene) if described else []
    return tuple(
        Region(
            expression=f"the {Style(rng.getrandbits(32)).noun(noun)}",
            mask=png(Image.fromarray(masks[index].astype("uint8") * 255)),
        )
        for index, noun in described
    )
