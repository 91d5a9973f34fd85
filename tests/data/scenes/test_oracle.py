from __future__ import annotations

import pytest

from vlp.data.scenes.grammar import parse
from vlp.data.scenes.oracle import fits, holds, referents, truth
from vlp.data.scenes.statements import Noun
from vlp.data.scenes.world import Scene, Thing


def thing(size: str, colour: str, shape: str, x: int, y: int) -> Thing:
    return Thing(size=size, colour=colour, shape=shape, x=x, y=y, turn=0.0)  # type: ignore[arg-type]


# A small red circle upper left, a large blue star right of it, two green squares below; the margin is 8 px.
SCENE = Scene(
    side=64,
    look=0,
    things=(
        thing("small", "red", "circle", 12, 12),
        thing("large", "blue", "star", 50, 16),
        thing("small", "green", "square", 14, 50),
        thing("large", "green", "square", 44, 50),
    ),
)

TRUE = """
there is a small red circle
there is a green thing
there is a small green square and a large green square
a blue star and a red circle
the star is blue
the blue thing is a star
the circle is not large
there is no red star
there are no rings
none of the stars is green
no circle is blue
the red circle is left of the blue star
the star is to the right of the circle
the circle is above the small square
the large square is lower than the star
the circle is not right of the star
the circle is not above the star
the circle is not below the star
there are exactly two squares
two squares
there is one circle
there are zero rings
at least two green things can be seen
there are at least one small things
i can see at most two squares
there are exactly four things
there are more squares than circles
there are fewer stars than green objects
there are as many circles as stars
there are as many small things as large things
there are as many rings as crosses
the star is larger than the circle
the small square is smaller than the star
"""

FALSE = """
there is a small red star
there is a large red circle
a blue star and a blue star
a red circle and a red thing
the star is red
the star is not blue
the green thing is large
there is no green square
no square is green
the red circle is right of the blue star
the circle is above the star
the circle is below the star
the circle is left of the small square
there are exactly two circles
there are three squares
at least three green things can be seen
i can see at most one square
there are more circles than squares
there are more circles than stars
there are fewer stars than circles
there are as many squares as circles
the circle is larger than the star
the star is larger than the large square
"""


@pytest.mark.parametrize("text", TRUE.strip().splitlines())
def test_true_of_the_scene(text: str) -> None:
    assert truth(SCENE.to_json(), text) is True


@pytest.mark.parametrize("text", FALSE.strip().splitlines())
def test_false_of_the_scene(text: str) -> None:
    assert truth(SCENE.to_json(), text) is False


@pytest.mark.parametrize("noun", ["ring", "square"])
@pytest.mark.parametrize(
    "form",
    [
        "the {} is green",
        "the {} is not red",
        "the {} is left of the star",
        "the {} is not left of the star",
        "the star is right of the {}",
        "the star is not below the {}",
        "the {} is smaller than the star",
        "the star is larger than the {}",
    ],
)
def test_a_description_of_nothing_or_of_several_makes_the_whole_statement_false(form: str, noun: str) -> None:
    assert truth(SCENE.to_json(), form.format(noun)) is False


def test_within_the_margin_neither_direction_holds() -> None:
    for gap, known in ((7, False), (8, True)):
        scene = Scene(
            side=64, look=0, things=(thing("small", "red", "ring", 20, 10), thing("small", "red", "star", 20 + gap, 50))
        )
        assert truth(scene.to_json(), "the ring is left of the star") is known
        assert truth(scene.to_json(), "the star is right of the ring") is known
        assert truth(scene.to_json(), "the ring is right of the star") is False


def test_the_margin_grows_with_the_picture() -> None:
    things = (thing("small", "red", "ring", 20, 10), thing("small", "red", "star", 30, 50))
    assert truth(Scene(side=64, look=0, things=things).to_json(), "the ring is left of the star") is True
    assert truth(Scene(side=96, look=0, things=things).to_json(), "the ring is left of the star") is False


def test_a_noun_fits_what_has_all_its_properties() -> None:
    assert [t.shape for t in referents(Noun(), SCENE)] == ["circle", "star", "square", "square"]
    assert fits(Noun("small", "red"), SCENE.things[0])
    assert not fits(Noun("small", "blue"), SCENE.things[0])


def test_what_cannot_be_judged_is_none() -> None:
    assert truth(SCENE.to_json(), "a dog on a sofa") is None
    assert truth('{"format": "coco"}', "there is a circle") is None
    assert truth("no json", "there is a circle") is None


def test_holds_decides_statements() -> None:
    statement = parse("there is a star")
    assert statement is not None
    assert holds(statement, SCENE) is True
