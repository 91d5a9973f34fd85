"""Questions as tables, the vocabulary, and the prior that never looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support import scenes
from vlp.data.loading import Prepared
from vlp.tasks.vqa.questions import Questions, prior_answers, questions, token_ids, vocabulary


def asked(*entries: tuple[str, str, int]) -> Questions:
    count = len(entries)
    return Questions(
        row=np.arange(count),
        start=np.arange(count + 1),
        text=[text for text, _, _ in entries],
        kind=[kind for _, kind, _ in entries],
        answer=[str(code) for _, _, code in entries],
        code=np.array([code for _, _, code in entries]),
    )


def test_the_vocabulary_is_the_commonest_answers_first_ties_by_name():
    assert vocabulary({"no": 3, "yes": 5, "a": 3, "rare": 1}, most=3, min_count=1) == ["yes", "a", "no"]
    assert vocabulary({"no": 3, "yes": 5, "rare": 1}, most=9, min_count=2) == ["yes", "no"]


def test_a_table_is_the_records_questions_in_order(tmp_path: Path):
    test = Prepared(scenes.prepare(tmp_path, 20)).split("test")
    found = questions(test, ["yes", "no"])
    entries = [(row, entry) for row in range(len(test)) for entry in test.values("questions", row)]
    assert found.row.tolist() == [row for row, _ in entries]
    assert found.text == [entry["text"] for _, entry in entries]
    assert found.kind == [entry["type"] for _, entry in entries]
    assert found.code.tolist() == [{"yes": 0, "no": 1}.get(str(entry["answer"]), -1) for _, entry in entries]
    assert found.start.tolist() == [0, *np.cumsum(np.bincount(found.row, minlength=len(test))).tolist()]
    assert [ids.tolist() for ids in token_ids(test)] == [entry["ids"] for _, entry in entries]


def test_the_prior_answers_by_the_words_then_by_the_type_then_by_what_is_common():
    train = asked(
        ("same?", "a", 1), ("same?", "a", 1), ("same?", "a", 0), ("x?", "a", 0), ("y?", "a", 0), ("z?", "b", 2)
    )
    test = asked(("same?", "b", 0), ("new?", "a", 0), ("new?", "b", 0), ("new?", "c", 0))
    assert prior_answers(train, test).tolist() == [1, 0, 2, 0]


def test_a_split_without_questions_is_refused_by_name(tmp_path: Path):
    prepared = Prepared(scenes.prepare(tmp_path, 20, questions=False))
    with pytest.raises(ValueError, match=r"split 'test' has no record with questions; .* the field `questions`"):
        questions(prepared.split("test"), ["yes", "no"])
