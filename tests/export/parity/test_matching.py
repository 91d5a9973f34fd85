"""The requests of a matching task, answered by a model and by a bundle that can be worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.bundles import tiny_matching, write_prepared, write_toy_bundle
from vlp.data.loading import Prepared
from vlp.export.parity.matching import comparison
from vlp.runtime.predictor import Predictor


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    root = tmp_path_factory.mktemp("toy")
    write_toy_bundle(root / "bundle", root / "work")
    return Predictor.open(root / "bundle", threads=1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    write_prepared(folder)
    return folder


def test_each_caption_is_asked_beside_its_edit_about_one_image(prepared: Path, toy: Predictor) -> None:
    made = comparison(tiny_matching(prepared), toy, Prepared(prepared).split("test"), samples=3)
    assert [request.row for request in made.requests] == [0, 2, 5]
    first = made.requests[0]
    assert first.texts == ["a blue square", "a red square", "a blue circle", "a red circle"]
    assert first.targets == [1, 0, 1, 0]


def test_the_runtime_that_knows_the_answers_is_right_and_the_metric_says_so(prepared: Path, toy: Predictor) -> None:
    made = comparison(tiny_matching(prepared), toy, Prepared(prepared).split("test"), samples=6)
    scores = np.concatenate([made.by_runtime(request) for request in made.requests])
    assert made.metric(scores) == 1.0
    assert made.metric(1 - scores) == 0.0


def test_torch_answers_a_request_as_it_answers_a_whole_split(prepared: Path, toy: Predictor) -> None:
    task, test = tiny_matching(prepared), Prepared(prepared).split("test")
    made = comparison(task, toy, test, samples=6)
    found = np.concatenate([made.by_torch(request) for request in made.requests])
    rows = np.repeat([request.row for request in made.requests], 4)
    together = task.score(test, rows, [ids for request in made.requests for ids in request.ids])
    np.testing.assert_allclose(found, together, atol=1e-6)
    assert np.ptp(found) > 0.01


def test_data_without_edits_is_asked_about_another_records_caption(tmp_path: Path, toy: Predictor) -> None:
    write_prepared(tmp_path / "prepared", edits=False)
    made = comparison(tiny_matching(tmp_path / "prepared"), toy, Prepared(tmp_path / "prepared").split("test"), 6)
    assert made.requests[0].texts == ["a blue square", "a blue circle", "a red square"]
    assert made.requests[0].targets == [1, 1, 0]


def test_a_test_split_without_captions_is_refused(tmp_path: Path, toy: Predictor) -> None:
    write_prepared(tmp_path / "prepared", records=0)
    with pytest.raises(ValueError, match="the test split has no caption"):
        comparison(tiny_matching(tmp_path / "prepared"), toy, Prepared(tmp_path / "prepared").split("test"), 6)
