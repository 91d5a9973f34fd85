"""What colours and shared words find, on pictures whose only difference is their colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.bundles import write_prepared
from vlp.data.loading import Prepared
from vlp.tasks.retrieval import by_colour
from vlp.tasks.retrieval.candidates import gather


def test_a_text_finds_the_pictures_in_the_colours_of_what_it_reminds_of(tmp_path: Path) -> None:
    write_prepared(tmp_path / "prepared")
    prepared = Prepared(tmp_path / "prepared")
    test = prepared.split("test")
    found = gather(test, 6, 2)
    alike = by_colour.similarity(prepared.split("train"), test, found, prepared.vocabulary_size)
    assert alike.shape == found.right.shape
    np.testing.assert_array_equal(alike > 0, found.right)
