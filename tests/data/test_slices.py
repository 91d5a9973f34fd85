"""What metrics are sliced by is read from the records, and is unnamed where they do not say."""

from __future__ import annotations

from pathlib import Path

from support import scenes
from vlp.data.loading import Prepared
from vlp.data.scenes.world import Scene
from vlp.data.slices import object_counts, word_counts


def test_scenes_tell_how_many_things_they_show(tmp_path: Path) -> None:
    train = Prepared(scenes.prepare(tmp_path, 20)).split("train")
    expected = [str(len(Scene.from_json(text or "").things)) for text in train.strings("annotation")]
    assert object_counts(train) == expected
    assert object_counts(train, [3, 3, 0]) == [expected[3], expected[3], expected[0]]


def test_other_data_does_not(tmp_path: Path) -> None:
    train = Prepared(scenes.prepare(tmp_path, 20, annotated=False)).split("train")
    assert set(object_counts(train)) == {""}


def test_lengths_sort_as_numbers() -> None:
    assert word_counts(["a red ring", "there is no star", " ".join("x" * 12)]) == ["03", "04", "12"]
