"""A classification task on real scenes and its exported graph, by image, text and both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support import exported, models, scenes
from vlp.data.loading import Prepared
from vlp.export.parity.base import measure
from vlp.export.parity.classification import comparison
from vlp.params import parse
from vlp.runtime.inputs import InputError
from vlp.tasks.classification import Params, Task
from vlp.training.determinism import seed_everything

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 30))


def task(prepared: Prepared, modality: str, kind: str = "multi") -> Task:
    seed_everything(0)
    recipe = models.recipe(1).model_dump(mode="json")
    section = {"training": recipe, "kind": kind, "modality": modality, "min_count": 5}
    made = Task(parse(Params, section, "tasks.classification"), models.model(prepared), prepared).eval()
    made.decision = {
        "labels": made.labels,
        "kind": kind,
        "modality": modality,
        "temperature": 1.5,
        "thresholds": [0.5 if number % 2 else 0.0 for number in range(len(made.labels))],
    }
    return made


@pytest.mark.parametrize("modality", ["text", "both"])
def test_the_graph_answers_as_the_model_does(prepared: Prepared, tmp_path: Path, modality: str) -> None:
    made = task(prepared, modality)
    predictor = exported.predictor(made, prepared, tmp_path)
    parity = measure(comparison(made, predictor, prepared.split("test"), samples=3))
    assert parity.max_abs_diff <= 1e-4 and parity.metric_drop == 0

    record = scenes.records(1)[0]
    image = None if modality == "text" else record.image
    answer = predictor.classify(image, record.captions[0].text)
    least = dict(zip(made.labels, made.decision["thresholds"], strict=True))
    called = [label for label in made.labels if answer.scores[label] >= least[label]]
    assert len(called) >= len(made.labels) // 2
    assert answer.decision.split(", ") == sorted(called, key=lambda label: -answer.scores[label])
    assert answer.score == max(answer.scores[label] for label in called)
    with pytest.raises(InputError, match=f"text: missing; this bundle classifies by {modality}"):
        predictor.classify(image)


def test_where_records_have_one_label_the_likeliest_is_the_answer(prepared: Prepared, tmp_path: Path) -> None:
    made = task(prepared, "image", "single")
    predictor = exported.predictor(made, prepared, tmp_path)
    logits = made.logits(prepared.split("test").images([0]), None)
    expected = made.probabilities(logits.detach().numpy())[0]
    pixels = prepared.split("test").images([0])[0].numpy()
    found = predictor.task("classification").classify_prepared(pixels)
    np.testing.assert_allclose(list(found.scores.values()), expected, atol=1e-4)
    answer = predictor.classify(scenes.records(1)[0].image)
    assert sum(answer.scores.values()) == pytest.approx(1)
    assert answer.decision == max(answer.scores, key=answer.scores.__getitem__)
    assert answer.score == answer.scores[answer.decision]
    with pytest.raises(InputError, match="text: not looked at; this bundle classifies by image alone"):
        predictor.classify(scenes.records(1)[0].image, "a red star")
