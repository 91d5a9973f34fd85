"""A segmentation task and its exported graphs, put the same questions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support import exported, models, scenes
from vlp.data.loading import Prepared
from vlp.export.parity.base import measure
from vlp.export.parity.segmentation import comparison
from vlp.params import parse
from vlp.runtime.predictor import Predictor
from vlp.tasks.segmentation import Params, Task
from vlp.training.determinism import seed_everything

pytestmark = pytest.mark.slow

SECTION = {
    "regions_per_image": 1,
    "width": 16,
    "rounds": 1,
    "heads": 2,
    "coarse_weight": 1.0,
    "dice_weight": 1.0,
    "training": models.recipe(1).model_dump(mode="json"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 20))


@pytest.fixture(scope="module")
def task(prepared: Prepared) -> Task:
    seed_everything(0)
    made = Task(parse(Params, SECTION, "tasks.segmentation"), models.model(prepared), prepared)
    made.decision = {"threshold": 0.5}
    return made.eval()


@pytest.fixture(scope="module")
def predictor(task: Task, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return exported.predictor(task, prepared, tmp_path_factory.mktemp("exported"))


def test_both_give_every_pixel_the_same_probability(task: Task, predictor: Predictor, prepared: Prepared) -> None:
    made = comparison(task, predictor, prepared.split("test"), samples=3)
    assert len(made.requests) == 3
    for request in made.requests:
        by_torch = made.by_torch(request)
        assert by_torch.shape == (64 * 64,) and np.ptp(by_torch) > 1e-3
        np.testing.assert_allclose(made.by_runtime(request), by_torch, atol=1e-5)
    assert measure(made).metric_drop == 0


def test_the_metric_is_the_overlap_with_the_true_masks(task: Task, predictor: Predictor, prepared: Prepared) -> None:
    made = comparison(task, predictor, prepared.split("test"), samples=3)
    truth = np.concatenate([request.target.ravel() for request in made.requests]).astype(np.float64)
    assert made.metric(truth) == 1.0
    assert made.metric(1 - truth) == 0.0


def test_a_text_has_a_mask_of_the_prepared_size(predictor: Predictor) -> None:
    found = predictor.segment(scenes.records(1)[0].image, "the  RED circle")
    assert found.mask.shape == found.probability.shape == (64, 64)
    assert found.mask.dtype == bool and found.probability.dtype == np.float32
    assert np.array_equal(found.mask, found.probability >= 0.5)
    same = predictor.segment(scenes.records(1)[0].image, "the red circle")
    assert np.array_equal(found.probability, same.probability)


def test_a_test_split_without_regions_is_refused(task: Task, predictor: Predictor, tmp_path: Path) -> None:
    bare = Prepared(scenes.prepare(tmp_path, 20, regions=False))
    with pytest.raises(ValueError, match="the test split has no entry in `regions`"):
        comparison(task, predictor, bare.split("test"), samples=3)
