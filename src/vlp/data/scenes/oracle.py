"""The oracle: what is true of a scene.

Every statement of the grammar is either true or false of every scene:

* A thing is in a direction of another one when its centre lies at least ``margin`` pixels (an eighth of
  the picture's side) further that way; within the margin it is in neither direction. *Left of* and
  *right of* look at columns only, *above* and *below* at rows only.
* A definite description ("the red circle") fits exactly one thing of the scene. Where it fits none or
  several, the whole statement is false, negated or not: "the red circle is not left of the star" says
  that there is one red circle and one star (Russell's reading, with narrow negation).
  Source: B. Russell, On Denoting, Mind 14 (1905).
* "The red circle is larger than …" compares the size words: two large things are equally large.
* "None of the circles is red" says no more than "there is no red circle".
* A bare number is exact: "there are two circles" is false of three.
"""

from __future__ import annotations

from vlp.data.scenes.grammar import parse
from vlp.data.scenes.statements import (
    CompareNumber,
    CompareSize,
    Count,
    Direction,
    Exists,
    Is,
    Noun,
    Relation,
    Statement,
)
from vlp.data.scenes.world import Scene, SceneError, Thing


def fits(noun: Noun, thing: Thing) -> bool:
    """Whether ``noun`` describes ``thing``."""
    return (
        (noun.shape is None or noun.shape == thing.shape)
        and (noun.colour is None or noun.colour == thing.colour)
        and (noun.size is None or noun.size == thing.size)
    )


def referents(noun: Noun, scene: Scene) -> list[Thing]:
    """The things of ``scene`` that ``noun`` describes, the hindmost first."""
    return [thing for thing in scene.things if fits(noun, thing)]


def margin(scene: Scene) -> float:
    """Pixels that two centres must lie apart to be in a direction of each other."""
    return scene.side / 8


def in_direction(a: Thing, direction: Direction, b: Thing, scene: Scene) -> bool:
    """Whether ``a`` is in ``direction`` of ``b``, by at least the margin."""
    ahead = {"left of": b.x - a.x, "right of": a.x - b.x, "above": b.y - a.y, "below": a.y - b.y}[direction]
    return ahead >= margin(scene)


def holds(statement: Statement, scene: Scene) -> bool:
    """Decide whether ``statement`` is true of ``scene``."""
    match statement:
        case Exists(nouns, negated):
            return _exist(nouns, scene) is not negated
        case Is(noun, value, negated):
            found = referents(noun, scene)
            return len(found) == 1 and fits(value, found[0]) is not negated
        case Relation(a, direction, b, negated):
            one, two = referents(a, scene), referents(b, scene)
            known = len(one) == 1 and len(two) == 1
            return known and in_direction(one[0], direction, two[0], scene) is not negated
        case Count(quantifier, number, noun):
            count = len(referents(noun, scene))
            return {"exactly": count == number, "at least": count >= number, "at most": count <= number}[quantifier]
        case CompareNumber(a, how, b):
            lead = len(referents(a, scene)) - len(referents(b, scene))
            return {"more": lead > 0, "fewer": lead < 0, "as many": lead == 0}[how]
        case CompareSize(a, how, b):
            one, two = referents(a, scene), referents(b, scene)
            if len(one) != 1 or len(two) != 1:
                return False
            return (one[0].size, two[0].size) == (("large", "small") if how == "larger" else ("small", "large"))


def _exist(nouns: tuple[Noun, ...], scene: Scene) -> bool:
    """Whether there is a thing for each noun, no thing serving two of them."""
    found = [referents(noun, scene) for noun in nouns]
    if len(found) == 1:
        return bool(found[0])
    return any(one is not two for one in found[0] for two in found[1])


def truth(annotation: str, text: str) -> bool | None:
    """Decide whether ``text`` is true of an annotated picture.

    Args:
        annotation: the JSON of a scene (``Record.annotation``).
        text: any text.

    Returns:
        None where that cannot be judged: the text is no statement of the grammar, or the annotation is
        not that of a scene.
    """
    statement = parse(text)
    if statement is None:
        return None
    try:
        scene = Scene.from_json(annotation)
    except SceneError:
        return None
    return holds(statement, scene)
