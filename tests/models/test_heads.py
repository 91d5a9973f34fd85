"""A head's file says whose its rows are."""

from __future__ import annotations

from pathlib import Path

import torch

from vlp.models import heads
from vlp.models.heads import Head


def test_rows_come_back_with_the_weights_and_the_bytes_are_the_same_each_time(tmp_path: Path) -> None:
    head = Head({"logits.weight": torch.arange(6.0).reshape(3, 2)}, ["a, b", "ring", "ün"])
    for name in ("one", "two"):
        heads.write(head, tmp_path / name)
    found = heads.read(tmp_path / "one")
    assert found.rows == ("a, b", "ring", "ün") and torch.equal(found["logits.weight"], head["logits.weight"])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_head_whose_rows_are_nobody_s_has_none(tmp_path: Path) -> None:
    heads.write(Head({"logit.bias": torch.zeros(1)}), tmp_path / "head")
    assert heads.read(tmp_path / "head").rows == ()


def test_names_are_found_wherever_their_rows_stand() -> None:
    assert Head({}, ["star", "ring", "cross"]).places(["ring", "square", "star"]) == ([0, 2], [1, 0])
