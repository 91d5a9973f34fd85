"""Features of an image are handed to its texts."""

from __future__ import annotations

import torch

from vlp.models.features import ImageFeatures
from vlp.records import Texts


def _features() -> ImageFeatures:
    rows = torch.arange(3.0)[:, None]
    return ImageFeatures(tokens=rows[..., None].repeat(1, 4, 2), pooled=rows, memory=(rows * 10,))


def _texts(rows: list[int], per_image: int) -> Texts:
    ids = torch.ones(len(rows), 2, dtype=torch.int64)
    return Texts(input_ids=ids, attention_mask=ids, image_index=torch.tensor(rows), per_image=per_image)


def test_index_gives_each_text_its_image() -> None:
    indexed = _features().index(torch.tensor([2, 0, 2, 1]))
    assert indexed.pooled.flatten().tolist() == [2, 0, 2, 1]
    assert indexed.tokens[:, 0, 0].tolist() == [2, 0, 2, 1]
    assert indexed.memory[0].flatten().tolist() == [20, 0, 20, 10]


def test_equal_counts_share_rows_and_others_copy_them() -> None:
    features = _features()
    assert features.of(_texts([0, 0, 1, 1, 2, 2], per_image=2)) is features
    assert features.of(_texts([0, 1, 1], per_image=0)).pooled.flatten().tolist() == [0, 1, 1]


def test_expand_repeats_each_row_for_consecutive_texts() -> None:
    features = _features()
    assert features.expand(3) is features
    expanded = features.expand(6)
    assert expanded.pooled.flatten().tolist() == [0, 0, 1, 1, 2, 2]
    assert expanded.memory[0].flatten().tolist() == [0, 0, 10, 10, 20, 20]
