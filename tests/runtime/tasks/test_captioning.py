"""Captions from an exported bundle, and what they are held against before there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.bundles import picture, png, write_prepared
from support.trained import bundled, trained
from vlp.data.loading import Prepared
from vlp.export.parity.base import measure
from vlp.export.parity.captioning import comparison
from vlp.preprocessing.image import ImageError
from vlp.runtime.inputs import InputError
from vlp.runtime.predictor import Predictor
from vlp.tasks.captioning import Task

pytestmark = pytest.mark.slow  # exports with torch.export


@pytest.fixture(scope="module", params=["cross_attention", "prefix"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Predictor, Path]:
    root = tmp_path_factory.mktemp(request.param)
    write_prepared(root / "prepared")
    decoder = {"hidden": 16, "layers": 2, "heads": 2, "intermediate": 32, "look": request.param}
    task = trained("captioning", root / "prepared", decoder=decoder)
    return task, bundled(task, root / "prepared", root / "bundle"), root / "prepared"


def test_it_says_what_the_model_says(exported: tuple[Task, Predictor, Path]) -> None:
    task, predictor, prepared = exported
    test = Prepared(prepared).split("test")
    pixels = [test.images([row])[0].numpy() for row in range(6)]
    found = [predictor.task("captioning").caption_prepared(each) for each in pixels]
    assert [answer.decision for answer in found] == task.write(test)
    assert {answer.decision.split()[1] for answer in found} == {"red", "blue"}
    assert all(0 < answer.score <= 1 and answer.scores == {answer.decision: answer.score} for answer in found)


def test_an_image_file_is_prepared_as_in_training(exported: tuple[Task, Predictor, Path]) -> None:
    _, predictor, _ = exported
    assert predictor.caption(png("red")) == predictor.task("captioning").caption_prepared(picture("red"))
    with pytest.raises(ImageError, match="not_an_image"):
        predictor.caption(b"no image")


def test_a_caption_ends_at_the_longest_and_holds_no_special_token(exported: tuple[Task, Predictor, Path]) -> None:
    task, predictor, _ = exported
    answers = predictor.task("captioning")
    written = answers.write(picture("red"))
    assert written.ids[-1] == task.end_id and not set(written.ids[:-1]) & set(task.prepared.special_ids)
    assert answers.write(picture("red"), [5] * 11).ids == (5,) * 11
    with pytest.raises(InputError, match="12 tokens; a caption of this model has at most 11"):
        answers.write(picture("red"), [5] * 12)
    # A model that never ends is stopped.
    answers.decision = {**answers.decision, "never": [*task.never, task.end_id]}
    try:
        assert len(answers.write(picture("red")).ids) == task.longest - 1
    finally:
        answers.decision = {**answers.decision, "never": task.never}


def test_model_and_bundle_agree_token_by_token(exported: tuple[Task, Predictor, Path]) -> None:
    task, predictor, prepared = exported
    made = comparison(task, predictor, Prepared(prepared).split("test"), samples=4)
    found = measure(made)
    assert found.max_abs_diff < 1e-4
    assert found.metric_drop == 0
    scores = [made.by_torch(request) for request in made.requests]
    assert made.metric(np.concatenate(scores)) == 1.0
    # Logits of which the largest are the smallest spell other captions.
    assert made.metric(-np.concatenate(scores)) == 0.0


def test_a_test_split_without_images_is_refused(exported: tuple[Task, Predictor, Path], tmp_path: Path) -> None:
    task, predictor, _ = exported
    write_prepared(tmp_path / "prepared", records=0)
    with pytest.raises(ValueError, match="the test split is empty"):
        comparison(task, predictor, Prepared(tmp_path / "prepared").split("test"), 4)
