from __future__ import annotations

import pytest

from vlp.data.manifest.rows import Row
from vlp.data.raw.columns import Columns, Facts, facts
from vlp.data.raw.templates import Values, caption, fill

PARAMS = Columns(
    image="image",
    question="question",
    answer="answer",
    type="type",
    caption_template="{question} {answer}",
)


def row(question: str | None, answer: str, kind: str = "") -> Facts:
    mapped = PARAMS.model_copy(update={"question": None, "answer": None}) if question is None else PARAMS
    return facts(Row(line=1, cells={"image": "a", "question": question, "answer": answer, "type": kind}), mapped)


def values(*known: Facts) -> Values:
    found = Values("answer")
    for each in known:
        found.add(each)
    return found


def negative(rows: list[Facts], known: Values) -> str | None:
    made = caption("{question} {answer}", rows[0], rows, known, "seed")
    assert made is not None
    return made.negative


def test_a_template_keeps_braces_that_are_doubled() -> None:
    assert fill("{{{a}}} is {b c}", {"a": "x", "b c": "y"}) == "{x} is y"


def test_the_negative_says_another_answer_to_the_same_question() -> None:
    red, blue = row("what color?", "red"), row("what color?", "blue")
    made = caption("{question} {answer}", red, [red], values(red, blue, row("what shape?", "circle")), "seed")
    assert made is not None
    assert (made.text, made.negative, made.kind) == ("what color? red", "what color? blue", "other")


def test_an_answer_that_the_image_also_has_makes_no_negative() -> None:
    red, blue = row("what color?", "red"), row("what color?", "blue")
    assert negative([red, blue], values(red, blue)) is None


def test_one_answer_in_two_spellings_makes_no_negative() -> None:
    two, word = row("how many?", "2 "), row("how many?", "two")
    assert two.template["answer"] == "2"
    assert negative([two], values(two, word)) is None


def test_an_answer_to_a_paraphrase_on_the_same_image_makes_no_negative() -> None:
    red, other = row("what color?", "red"), row("which colour is there?", "Blue")
    assert negative([red, other], values(red, row("what color?", "blue"), other)) is None


def test_yes_and_no_exclude_each_other_question_by_question() -> None:
    circle, square = row("a circle?", "yes"), row("a square?", "no")
    assert negative([circle, square], values(circle, row("a circle?", "no"), square)) == "a circle? no"


@pytest.mark.parametrize(("kind", "expected"), [("", None), ("colour", "what color? blue")])
def test_a_question_asked_once_borrows_an_answer_of_its_type(kind: str, expected: str | None) -> None:
    red = row("what color?", "red", kind)
    known = values(red, row("which colour?", "blue", kind), row("what shape?", "circle", "shape"))
    assert negative([red], known) == expected, "without a type column 'other' tells no two answers apart"


def test_a_count_asked_once_borrows_another_count() -> None:
    assert negative([row("how many?", "2")], values(row("how many?", "2"), row("what count?", "3"))) == "how many? 3"


def test_a_row_without_a_column_of_the_template_has_no_caption() -> None:
    assert caption("{question} {answer}", row(None, "red"), [], values(), "seed") is None
