"""What prepared shards hold, in numbers: of these a model, an objective and a task are built.

``splits`` counts the texts of each; then there are the sizes and the token ids of the special tokens, ``labels`` and
``answers`` of the train split with their counts, and those that only the other splits have (``unseen_labels``,
``unseen_answers``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from vlp.data import shards
from vlp.data.split import SPLITS
from vlp.preprocessing import text


def summarise(folder: Path, tokenizer: Tokenizer, *, image_size: int, max_tokens: int) -> dict[str, Any]:
    """What ``summary.json`` says of the shards beside it.

    Args:
        folder: holds shards of every split, as ``vlp.data.examples`` writes them.
        tokenizer: their ids are its own.
        image_size: S, the side of every image in pixels.
        max_tokens: L, of a text at most.

    Raises:
        ShardError: a split has no shard, or one is not readable.
    """
    found = {name: _Counts(folder, name) for name in SPLITS}
    return {
        "splits": {name: dict(each.texts) for name, each in found.items()},
        "vocabulary_size": tokenizer.get_vocab_size(),
        **{f"{name}_id": number for name, number in text.special_ids(tokenizer).items()},
        "image_size": image_size,
        "max_tokens": max_tokens,
        "labels": dict(found["train"].labels),
        "answers": dict(found["train"].answers),
        "unseen_labels": _unseen({name: each.labels for name, each in found.items()}),
        "unseen_answers": _unseen({name: each.answers for name, each in found.items()}),
    }


class _Counts:
    """What the shards of one split hold."""

    def __init__(self, folder: Path, split: str) -> None:
        self.texts: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        for path in shards.paths(folder, split):
            table = shards.open_shard(path)
            captions, questions, regions = (
                pc.list_flatten(table[name]) for name in ("captions", "questions", "regions")
            )
            negatives = pc.struct_field(captions, "negative")
            self.texts.update(
                captions=len(captions),
                negatives=len(negatives) - negatives.null_count,
                questions=len(questions),
                regions=len(regions),
            )
            self.labels.update(_counted(pc.list_flatten(table["labels"])))
            self.answers.update(_counted(pc.struct_field(questions, "answer")))


def _counted(values: pa.ChunkedArray) -> dict[str, int]:
    return {each["values"].as_py(): each["counts"].as_py() for each in pc.value_counts(values)}


def _unseen(counts: Mapping[str, Counter[str]]) -> dict[str, int]:
    elsewhere = sum((counts[name] for name in SPLITS[1:]), Counter[str]())
    return {value: count for value, count in elsewhere.items() if value not in counts["train"]}
