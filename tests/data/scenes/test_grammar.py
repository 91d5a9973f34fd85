from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.data.scenes.grammar import article, parse, write
from vlp.data.scenes.statements import CompareNumber, CompareSize, Count, Exists, Is, Noun, Relation, Statement
from vlp.data.scenes.world import COLOURS, SHAPES, SIZES

nouns = st.builds(
    Noun,
    size=st.none() | st.sampled_from(SIZES),
    colour=st.none() | st.sampled_from(COLOURS),
    shape=st.none() | st.sampled_from(SHAPES),
)
values = (
    st.builds(Noun, size=st.sampled_from(SIZES))
    | st.builds(Noun, colour=st.sampled_from(COLOURS))
    | st.builds(Noun, shape=st.sampled_from(SHAPES))
)
directions = st.sampled_from(["left of", "right of", "above", "below"])
statements = st.one_of(
    st.builds(Exists, st.tuples(nouns), st.booleans()),
    st.builds(Exists, st.tuples(nouns, nouns)),
    st.builds(Is, nouns, values, st.booleans()),
    st.builds(Relation, nouns, directions, nouns, st.booleans()),
    st.builds(Count, st.sampled_from(["exactly", "at least", "at most"]), st.integers(0, 5), nouns),
    st.builds(CompareNumber, nouns, st.sampled_from(["more", "fewer", "as many"]), nouns),
    st.builds(CompareSize, nouns, st.sampled_from(["larger", "smaller"]), nouns),
)
styles = st.integers(0, 2**32 - 1)


@given(statements, styles)
@settings(max_examples=600, deadline=None)
def test_what_is_written_is_read_back(statement: Statement, style: int) -> None:
    assert parse(write(statement, style)) == statement


@given(statements, styles)
@settings(deadline=None)
def test_texts_are_at_most_sixteen_words_of_lower_case(statement: Statement, style: int) -> None:
    text = write(statement, style)
    assert len(text.split()) <= 16
    assert text == text.lower().strip()
    assert text.replace(" ", "").isalpha()


@given(statements, styles, st.sampled_from(["{}.", "{}!", " {} ", "“{}”", "{} …", "Well… {}"[6:]]))
@settings(deadline=None)
def test_case_and_punctuation_do_not_matter(statement: Statement, style: int, around: str) -> None:
    text = write(statement, style)
    assert parse(around.format(text.capitalize())) == statement
    assert parse(around.format(text.upper())) == statement


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("There is a small red circle.", Exists((Noun("small", "red", "circle"),))),
        ("a picture with three blue things", Count("exactly", 3, Noun(colour="blue"))),
        ("there are exactly two circles", Count("exactly", 2, Noun(shape="circle"))),
        ("there are more circles than squares", CompareNumber(Noun(shape="circle"), "more", Noun(shape="square"))),
        (
            "the red circle is bigger than the blue star",
            CompareSize(Noun(colour="red", shape="circle"), "larger", Noun(colour="blue", shape="star")),
        ),
        ("there is no green star", Exists((Noun(colour="green", shape="star"),), negated=True)),
        ("no circle is red", Exists((Noun(colour="red", shape="circle"),), negated=True)),
        ("none of the small crosses is red", Exists((Noun("small", "red", "cross"),), negated=True)),
        (
            "the ring is to the left of the star",
            Relation(Noun(shape="ring"), "left of", Noun(shape="star")),
        ),
        (
            "lower than the star is not the ring",
            Relation(Noun(shape="ring"), "below", Noun(shape="star"), negated=True),
        ),
        ("a ring and an orange star", Exists((Noun(shape="ring"), Noun(colour="orange", shape="star")))),
        ("there is a orange star", Exists((Noun(colour="orange", shape="star"),))),
        ("the red thing is not a circle", Is(Noun(colour="red"), Noun(shape="circle"), negated=True)),
    ],
)
def test_examples_mean_what_they_say(text: str, statement: Statement) -> None:
    assert parse(text) == statement


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a dog",
        "there is a circle circle",
        "the red circle is",
        "there are two",
        "more circles",
        "a red small circle",
    ],
)
def test_other_texts_are_none_of_the_grammar(text: str) -> None:
    assert parse(text) is None


def test_style_nought_is_the_plainest_way() -> None:
    assert write(Relation(Noun("small"), "left of", Noun("large"))) == "the small thing is left of the large thing"


def test_styles_paraphrase() -> None:
    statement = Relation(Noun("small", "red", "circle"), "left of", Noun("large", "blue"))
    rng = random.Random(0)
    assert len({write(statement, rng.getrandbits(32)) for _ in range(400)}) >= 16


def test_in_one_style_an_edited_word_is_all_that_changes() -> None:
    rng = random.Random(1)
    for _ in range(200):
        style = rng.getrandbits(32)
        one = write(Relation(Noun(colour="red"), "left of", Noun(colour="blue")), style).split()
        two = write(Relation(Noun(colour="red"), "right of", Noun(colour="blue")), style).split()
        assert {a + b for a, b in zip(one, two, strict=True) if a != b} == {"leftright"}


def test_articles_follow_the_sound() -> None:
    assert article("orange star") == "an orange star"
    assert article("red star") == "a red star"
