"""What is searched, and what counts as right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support import scenes
from support.bundles import write_prepared
from vlp.data.loading import Prepared
from vlp.tasks.retrieval.candidates import gather


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 40))


def test_all_captions_of_an_image_are_one_description(prepared: Prepared) -> None:
    found = gather(prepared.split("train"), 10, 4)
    assert len(found.rows) == 10 and len(set(found.rows.tolist())) == 10
    assert found.owner.tolist() == list(range(10))
    assert [len(text) for text in found.texts] == [4] * 10
    assert np.array_equal(found.right, np.eye(10, dtype=bool))


def test_fewer_captions_a_description_make_more_descriptions(prepared: Prepared) -> None:
    found = gather(prepared.split("train"), 10, 3)
    assert found.owner.tolist() == [image for image in range(10) for _ in range(2)]
    assert found.places[:2] == [[0, 1, 2], [3]]
    assert found.right[found.owner, np.arange(20)].all()


def test_a_caption_that_several_images_have_is_right_for_each(tmp_path: Path) -> None:
    # Two captions a picture, in two colours: the pictures of one colour are one candidate.
    write_prepared(tmp_path / "prepared")
    found = gather(Prepared(tmp_path / "prepared").split("test"), 6, 1)
    assert found.rows.tolist() == [0, 1]
    assert found.right.tolist() == [[True, True, False, False], [False, False, True, True]]


def test_equal_single_captions_of_different_images_are_all_right(prepared: Prepared) -> None:
    train = prepared.split("train")
    found = gather(train, 28, 1)
    for text, owner in enumerate(found.owner.tolist()):
        words = train.values("captions", int(found.rows[owner]))[found.places[text][0]]["text"]
        having = [words in [c["text"] for c in train.values("captions", row)] for row in found.rows.tolist()]
        assert found.right[:, text].tolist() == having


def test_data_with_nothing_to_tell_apart_is_refused(tmp_path: Path) -> None:
    bare = Prepared(scenes.prepare(tmp_path, 10, captions=0))
    with pytest.raises(ValueError, match="0 images with captions of their own"):
        gather(bare.split("test"), 10, 4)
