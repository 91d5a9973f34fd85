"""A vqa task on real scenes and its exported graphs: the same answers, from files as from prepared pixels."""

from __future__ import annotations

import numpy as np
import pytest

from support import exported, models, scenes
from vlp.data.loading import Prepared
from vlp.export.parity.base import measure
from vlp.export.parity.vqa import comparison
from vlp.params import parse
from vlp.runtime.inputs import InputError
from vlp.runtime.predictor import Predictor
from vlp.runtime.tasks.vqa import TEXTS_AT_ONCE
from vlp.tasks.vqa import Params, Task
from vlp.training.determinism import seed_everything

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 30))


@pytest.fixture(scope="module")
def task(prepared: Prepared) -> Task:
    seed_everything(0)
    section = {"training": models.recipe(1).model_dump(mode="json"), "questions_per_image": 4, "answers": 30}
    made = Task(parse(Params, section, "tasks.vqa"), models.model(prepared), prepared).eval()
    made.calibrate(prepared.split("validation"), seed=0)
    return made


@pytest.fixture(scope="module")
def predictor(task: Task, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return exported.predictor(task, prepared, tmp_path_factory.mktemp("exported"))


def test_the_graphs_answer_as_the_model_does(task: Task, prepared: Prepared, predictor: Predictor) -> None:
    made = comparison(task, predictor, prepared.split("test"), samples=3)
    assert [len(request.texts) for request in made.requests] == [4, 4, 4]
    parity = measure(made)
    assert parity.max_abs_diff <= 1e-4 and parity.metric_drop == 0
    scores = np.concatenate([made.by_torch(request) for request in made.requests]).reshape(12, -1)
    np.testing.assert_allclose(scores.sum(1), 1)
    codes = np.array([code for request in made.requests for code in request.codes])
    assert made.metric((codes[:, None] == np.arange(scores.shape[1])).astype(float).ravel()) == (codes >= 0).mean()


def test_a_file_and_a_question_have_an_answer(task: Task, prepared: Prepared, predictor: Predictor) -> None:
    record = scenes.records(1)[0]
    question = record.questions[0].text
    answer = predictor.ask(record.image, f"  {question.upper()} ")
    assert answer.task == "vqa" and answer.decision == max(answer.scores, key=answer.scores.__getitem__)
    assert list(answer.scores) == task.answers and sum(answer.scores.values()) == pytest.approx(1)
    assert answer.score == max(answer.scores.values())
    pixels = prepared.split("train").images([0])[0].numpy()
    assert predictor.task("vqa").ask_prepared(pixels, [question]) == [answer]


def test_neither_neighbours_nor_padding_change_an_answer(prepared: Prepared, predictor: Predictor) -> None:
    pixels = prepared.split("test").images([0])[0].numpy()
    asked = ["is there a star?", "how many red things does the picture show?", "is there a large blue ring?"]
    answers = predictor.task("vqa").ask_prepared(pixels, asked * TEXTS_AT_ONCE)
    assert len(answers) == 3 * TEXTS_AT_ONCE
    for number, question in enumerate(asked):
        alone = predictor.task("vqa").ask_prepared(pixels, [question])[0]
        np.testing.assert_allclose(list(alone.scores.values()), list(answers[number].scores.values()), atol=1e-6)
    assert predictor.task("vqa").ask_prepared(pixels, []) == []


def test_a_question_that_training_would_refuse_is_refused(predictor: Predictor) -> None:
    image = scenes.records(1)[0].image
    with pytest.raises(InputError, match=r"question\[0\]: empty"):
        predictor.ask(image, "?!")
