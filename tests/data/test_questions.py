"""Questions as tables, the vocabulary, and questions drawn for a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support import scenes
from vlp.data.loading import Prepared
from vlp.data.questions import draw_questions, questions, token_ids, vocabulary


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


def test_a_split_without_questions_is_refused_by_name(tmp_path: Path):
    prepared = Prepared(scenes.prepare(tmp_path, 20, questions=False))
    with pytest.raises(ValueError, match=r"split 'test' has no record with questions; .* the field `questions`"):
        questions(prepared.split("test"), ["yes", "no"])


def test_drawn_are_questions_of_known_answers_as_many_an_image_as_wanted(tmp_path: Path):
    test = Prepared(scenes.prepare(tmp_path, 20)).split("test")
    found = questions(test, ["yes", "no"])
    ids, owner, code = draw_questions(test, found, [1, 0], 2, np.random.default_rng(0))
    known = {row: (found.row == row) & (found.code >= 0) for row in (0, 1)}
    assert owner == [0] * min(2, int(known[1].sum())) + [1] * min(2, int(known[0].sum()))
    assert set(code) <= {0, 1}
    answers = {tuple(text.tolist()): int(code) for text, code in zip(token_ids(test), found.code, strict=True)}
    assert [answers[tuple(text.tolist())] for text in ids] == code
