from __future__ import annotations

import json

import numpy as np
import pytest

from vlp.preprocessing.text import TextParams, train_tokenizer
from vlp.records import Answer
from vlp.runtime.served import Served, ServedError, observe

AT = "2026-11-23T20:15:00.125+00:00"
TOKENIZER = train_tokenizer(
    ["a red circle", "a red square"], TextParams(max_words=9, max_tokens=9, vocabulary=50, min_frequency=1)
)


def answer(score: float) -> Answer:
    return Answer(task="matching", decision="true", score=score, scores={"true": score, "false": 1 - score})


def rows() -> list[Served]:
    pixels = np.full((16, 16, 3), (250, 10, 40), dtype=np.uint8)
    texts = ["a red circle", "a red elephant circle"]
    answers = [answer(0.75), answer(1 / 3)]
    return observe(pixels, texts, answers, TOKENIZER, request="r-1", at=AT, bundle="b-1")


def test_a_request_becomes_one_row_a_text_with_its_image_on_each() -> None:
    first, second = rows()
    assert (first.request, first.text, second.text, first.task) == ("r-1", 0, 1, "matching")
    assert (first.red, first.green, first.blue) == (second.red, second.green, second.blue) == (250, 10, 40)
    assert (first.words, second.words, first.score) == (3, 4, 0.75)
    assert (first.unknown_share, second.unknown_share) == (0.0, 0.25)


def test_a_row_is_plain_json_and_reads_back() -> None:
    for row in rows():
        line = json.dumps(row.to_row(), allow_nan=False)
        back = Served.from_row(json.loads(line))
        assert back.to_row() == row.to_row()
        assert Served.from_row({**json.loads(line), "host": "a"}) == back


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": None}, "score: expected float, found None"),
        ({"score": float("nan")}, "score: expected a finite number, found nan"),
        ({"words": 2.5}, "words: expected int, found 2.5"),
        ({"text": True}, "text: expected int, found True"),
        ({"at": "2026-11-23T20:15:00"}, "at: expected ISO 8601 with an offset, found '2026-11-23T20:15:00'"),
        ({"at": "noon"}, "at: expected ISO 8601 with an offset, found 'noon'"),
    ],
)
def test_a_row_that_is_none_is_refused_naming_the_field(change: dict[str, object], message: str) -> None:
    with pytest.raises(ServedError) as refused:
        Served.from_row({**rows()[0].to_row(), **change})
    assert str(refused.value) == message


def test_a_missing_field_is_named() -> None:
    row = rows()[0].to_row()
    del row["request"]
    with pytest.raises(ServedError, match="request: missing"):
        Served.from_row(row)


def test_a_reference_has_no_time() -> None:
    assert Served.from_row({**rows()[0].to_row(), "at": ""}).at == ""
