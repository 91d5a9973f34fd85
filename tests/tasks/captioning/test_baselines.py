"""Captions taken from training images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.bundles import write_prepared
from vlp.data.loading import Examples, Prepared
from vlp.tasks.captioning import baselines


def colour(examples: Examples, rows: np.ndarray) -> np.ndarray:
    return examples.images(rows.tolist()).float().mean((1, 2)).numpy()


def test_the_nearest_image_lends_its_caption(tmp_path: Path) -> None:
    write_prepared(tmp_path / "prepared")
    prepared = Prepared(tmp_path / "prepared")
    found = baselines.of_nearest(prepared.split("train"), prepared.split("test"), colour, most=4)
    assert found == ["a blue square", "a red square"] * 3


def test_the_nearest_by_colour_needs_no_model(tmp_path: Path) -> None:
    write_prepared(tmp_path / "prepared")
    prepared = Prepared(tmp_path / "prepared")
    found = baselines.of_nearest(prepared.split("train"), prepared.split("test"), baselines.colours, most=4)
    assert found == ["a blue square", "a red square"] * 3


def test_the_most_common_caption_is_the_first_of_equals(tmp_path: Path) -> None:
    write_prepared(tmp_path / "prepared")
    assert baselines.most_common(Prepared(tmp_path / "prepared").split("train")) == "a blue circle"
