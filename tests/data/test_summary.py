from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vlp.data import examples
from vlp.data.shards import ShardError
from vlp.data.summary import summarise
from vlp.preprocessing import text
from vlp.records import Caption, Example, Question

TEXTS = ("a red square", "a blue square", "is it red?", "the left half")
TEXT = text.TextParams(max_words=10, max_tokens=12, vocabulary=200, min_frequency=1)
TOKENIZER = text.train_tokenizer(TEXTS, TEXT)
IDS = dict(zip(TEXTS, text.encode(TOKENIZER, TEXTS, TEXT), strict=True))


def example(split: str, label: str, answer: str, negative: str | None = None) -> Example:
    return Example(
        id=split,
        group=split,
        image=np.zeros((16, 16, 3), np.uint8),
        captions=(Caption(text="a red square", negative=negative), Caption(text="a red square")),
        labels=("square", label),
        questions=(Question(text="is it red?", answer=answer),),
        regions=(("the left half", np.eye(16, dtype=bool)),) if negative else (),
        annotation=None,
    )


def test_it_counts_what_the_shards_hold_and_says_what_a_model_is_built_by(tmp_path: Path) -> None:
    examples.write(tmp_path, "train", [(example("train", "red", "yes", "a blue square"), IDS)])
    examples.write(tmp_path, "validation", [(example("validation", "pink", "yes"), IDS)])
    examples.write(tmp_path, "test", [(example("test", "pink", "perhaps"), IDS)])
    assert summarise(tmp_path, TOKENIZER, image_size=16, max_tokens=12) == {
        "splits": {
            "train": {"captions": 2, "negatives": 1, "questions": 1, "regions": 1},
            "validation": {"captions": 2, "negatives": 0, "questions": 1, "regions": 0},
            "test": {"captions": 2, "negatives": 0, "questions": 1, "regions": 0},
        },
        "vocabulary_size": TOKENIZER.get_vocab_size(),
        **{f"{name}_id": number for name, number in text.special_ids(TOKENIZER).items()},
        "image_size": 16,
        "max_tokens": 12,
        "labels": {"square": 1, "red": 1},
        "answers": {"yes": 1},
        "unseen_labels": {"pink": 2},
        "unseen_answers": {"perhaps": 1},
    }


def test_without_every_split_there_is_none(tmp_path: Path) -> None:
    examples.write(tmp_path, "train", [(example("train", "red", "yes"), IDS)])
    with pytest.raises(ShardError, match="no shard validation"):
        summarise(tmp_path, TOKENIZER, image_size=16, max_tokens=12)
