"""A generation task and its exported graphs, drawing from the same noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from support import exported, models, scenes
from vlp.data.loading import Prepared
from vlp.export.parity.base import measure
from vlp.export.parity.generation import comparison
from vlp.params import parse
from vlp.runtime.inputs import InputError
from vlp.runtime.predictor import Predictor
from vlp.tasks.generation import Params, Task
from vlp.tasks.generation.report import prompts
from vlp.training.determinism import seed_everything

pytestmark = pytest.mark.slow

SECTION = {
    "book": {"sprites": 12, "grounds": 4, "things": 3, "size": 12, "pictures": 40, "rounds": 4},
    "width": 32,
    "layers": 1,
    "heads": 2,
    "captions_per_image": 2,
    "orders": 2,
    "described": 0.4,
    "wordless": 0.2,
    "guidance": [2.0],
    "candidates": 3,
    "prompts": 3,
    "calibration_prompts": 2,
    "training": models.recipe(1).model_dump(mode="json"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 20))


@pytest.fixture(scope="module")
def task(prepared: Prepared) -> Task:
    """Untrained, but no part of it silent: what starts at zero is moved away from it."""
    seed_everything(0)
    made = Task(parse(Params, SECTION, "tasks.generation"), models.model(prepared), prepared)
    made.prepare(prepared.split("train"), seed=0)
    with torch.no_grad():
        for parameter in (*made.prior.parameters(), *made.matching.parameters()):
            parameter.add_(0.02 * torch.randn_like(parameter))
    made.calibrate(prepared.split("validation"), seed=0)
    return made.eval()


@pytest.fixture(scope="module")
def predictor(task: Task, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return exported.predictor(task, prepared, tmp_path_factory.mktemp("exported"))


def test_both_think_the_same_likely_at_every_place(task: Task, predictor: Predictor, prepared: Prepared) -> None:
    made = comparison(task, predictor, prepared.split("test"), samples=2)
    places, words = task.words.places, task.words.count
    for request in made.requests:
        by_torch = made.by_torch(request)
        assert by_torch.shape == (places * 2 * words + 3 * 64 * 64 + task.params.candidates,)
        likely = by_torch[: places * 2 * words].reshape(places, 2, words)
        np.testing.assert_allclose(likely.sum(2), 1, atol=1e-9)
        assert np.abs(likely[:, 0] - likely[:, 1]).max() > 1e-3, "with the text and without it"
        assert np.ptp(by_torch[places * 2 * words :][: 3 * 64 * 64]) > 0.1
        np.testing.assert_allclose(made.by_runtime(request), by_torch, atol=1e-4)
    assert abs(measure(made).metric_drop) < 1e-3


def test_the_metric_is_what_rounding_can_spoil(task: Task, predictor: Predictor, prepared: Prepared) -> None:
    made = comparison(task, predictor, prepared.split("test"), samples=2)
    scores = np.stack([made.by_torch(request) for request in made.requests])
    exact, told = made.metric(scores.ravel()), task.words.places * 2 * task.words.count
    assert 0 < exact < 2
    flatter, turned, repainted = scores.copy(), scores.copy(), scores.copy()
    flatter[:, :told] **= 0.5
    turned[:, -task.params.candidates :] *= -1
    repainted[:, told : -task.params.candidates] = 0.5
    assert made.metric(turned.ravel()) < exact, "another candidate is kept than the truest"
    assert made.metric(flatter.ravel()) != exact, "the words are thought otherwise"
    assert made.metric(repainted.ravel()) == exact, "whoever tells them, the same words are the same picture"


def test_the_kept_candidate_is_the_same(task: Task, predictor: Predictor, prepared: Prepared) -> None:
    (asked,) = prompts(prepared.split("test"), 1)
    how = {name: task.decision[name] for name in ("guidance", "candidates")}
    drawn = task.draw([asked.ids], [5], **how)
    found = predictor.generate(asked.text, 5)
    assert found.dtype == np.uint8 and found.shape == (64, 64, 3)
    assert np.array_equal(found, drawn.kept[0])


def test_a_seed_is_a_picture(predictor: Predictor) -> None:
    first = predictor.generate("there is a red circle", 1)
    assert np.array_equal(first, predictor.generate("there  is a RED circle", 1))
    assert not np.array_equal(first, predictor.generate("there is a red circle", 2))
    with pytest.raises(InputError, match="seed: -1; expected 0 or more"):
        predictor.generate("there is a red circle", -1)
