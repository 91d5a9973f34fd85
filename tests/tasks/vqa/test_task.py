"""Answering on a few real scenes: it learns, it looks and reads, and neither batch nor padding changes it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from support import models, scenes, watching
from vlp.data.loading import Plans, Prepared, loader
from vlp.evaluation.cross_validation import METRICS, cross_validate
from vlp.models.heads import Head
from vlp.models.nothing import NOTHING
from vlp.params import parse
from vlp.tasks.vqa import Params, Task
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 60))


def task(prepared: Prepared, steps: int = 1, **more: object) -> Task:
    seed_everything(0)
    section = {
        "training": models.recipe(steps).model_dump(mode="json"),
        "questions_per_image": 4,
        "answers": 30,
        **more,
    }
    return Task(parse(Params, section, "tasks.vqa"), models.model(prepared), prepared)


@pytest.fixture(scope="module")
def trained(prepared: Prepared) -> Task:
    made = task(prepared, 80)
    train = prepared.split("train")
    history = fit(made, loader(train, made.collate, Plans(len(train), 8, 80, 0), seed=0), made.params.training)
    assert history.rows[-1]["vqa_loss"] < history.rows[0]["vqa_loss"] - 0.5
    made.calibrate(prepared.split("validation"), seed=0)
    return made


def test_it_remembers_what_it_was_trained_on(trained: Task, prepared: Prepared) -> None:
    train = prepared.split("train")
    assert (trained.score(train).argmax(1) == trained.asked(train).code).mean() > 0.5


def test_its_metrics_have_the_names_of_the_contract_and_an_interval_each(trained: Task, prepared: Prepared) -> None:
    found = trained.evaluate(prepared.split("test"), seed=0, resamples=200)
    names = ("accuracy", "question_only_accuracy", "macro_f1", "majority_accuracy", "image_only_accuracy", "ece")
    for name in names:
        low, high = found.metrics[f"{name}_ci95"]
        assert low <= found.metrics[name] <= high or name == "ece"
    assert found.metrics["question_only_accuracy"] == max(
        found.metrics["blank_image_accuracy"], found.metrics["question_prior_accuracy"]
    )
    assert found.metrics["images"] == 9 and found.metrics["questions"] == 36 == len(found.predictions)
    low, high = found.metrics["macro_roc_auc_ci95"]
    assert 0 <= low <= high <= 1
    for slices in ("accuracy_by_type", "accuracy_by_answer", "accuracy_by_words", "accuracy_by_objects"):
        parts = found.metrics[slices].values()
        assert sum(part["size"] for part in parts) == 36
        assert sum(part["size"] * part["value"] for part in parts) / 36 == pytest.approx(found.metrics["accuracy"])
    assert set(found.plots) == {"calibration", "confusion", "types"}


def test_evaluation_encodes_each_picture_once(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    with watching.rows(trained.model.image_encoder) as seen:
        found = trained.evaluate(test, seed=0, resamples=100)
    assert sum(seen) == len(test) + 1, "those of the split, and one that shows nothing"
    assert found.frozen is not None


def test_a_linear_head_on_its_frozen_features_is_cross_validated_by_group(trained: Task, prepared: Prepared) -> None:
    train = prepared.split("train")
    frozen = trained.evaluate(train, seed=0, resamples=100).frozen
    assert frozen is not None
    assert frozen.features.shape == (len(trained.asked(train)), 64) and (frozen.targets.sum(1) == 1).all()
    found = cross_validate(
        frozen.features, frozen.targets, frozen.groups, METRICS[frozen.metric], folds=3, seed=0, exclusive=True
    )
    assert found["pooled"] > 1.5 / len(trained.answers)


def test_picture_and_question_both_change_the_answer(trained: Task, prepared: Prepared) -> None:
    train = prepared.split("train")
    seen, code = trained.score(train), trained.asked(train).code
    right = (seen.argmax(1) == code).mean()
    for taken in ("blank", "mute"):
        without = trained.score(train, **{taken: True})
        assert np.abs(without - seen).max() > 0.5
        assert (without.argmax(1) == code).mean() < right


def test_without_the_picture_equal_questions_have_equal_answers(trained: Task, prepared: Prepared) -> None:
    train = prepared.split("train")
    blank: dict[str, np.ndarray] = {}
    for text, logits in zip(trained.asked(train).text, trained.score(train, blank=True), strict=True):
        np.testing.assert_allclose(blank.setdefault(text, logits), logits, atol=1e-4)


def test_batch_size_and_padding_do_not_change_a_score(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    together = trained.score(test)
    alone = Task(trained.params.model_copy(update={"evaluation_batch_size": 1}), trained.model, prepared)
    alone.load_state_dict(trained.state_dict())
    np.testing.assert_allclose(alone.score(test), together, atol=1e-4)


def test_what_is_saved_comes_back_and_answers_the_same(trained: Task, prepared: Prepared, tmp_path: Path) -> None:
    trained.save(tmp_path)
    again = Task.load(tmp_path, prepared)
    test = prepared.split("test")
    assert np.array_equal(trained.score(test), again.score(test))
    assert again.decision == trained.decision
    assert trained.decision["answers"] == trained.answers and trained.decision["temperature"] > 0


def test_yes_and_no_start_from_the_matching_head_and_words_from_the_masked_text_head(prepared: Prepared) -> None:
    made = task(prepared)
    width, size = 32, prepared.vocabulary_size
    matching = {"logit.weight": torch.full((1, width), 0.5), "logit.bias": torch.tensor([2.0])}
    masked = {
        "dense.weight": torch.eye(width),
        "dense.bias": torch.zeros(width),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
        "decoder.weight": torch.arange(size).float()[:, None].expand(size, width),
        "decoder.bias": torch.arange(size).float(),
    }
    before = made.head.masked.decoder.weight.clone()
    made.warm_start({"matching": matching, "masked_text": masked})
    yes, no, red = (made.answers.index(answer) for answer in ("yes", "no", "red"))
    assert torch.equal(made.head.pooled.weight[yes], -made.head.pooled.weight[no])
    assert made.head.pooled.weight[yes, 0] == 0.25 and made.head.pooled.bias[yes] == 1.0
    number = made._answer_ids()[red]
    assert torch.equal(made.head.masked.decoder.weight[red], torch.full((width,), float(np.mean(number))))
    unknown = [place for place, ids in enumerate(made._answer_ids()) if not ids]
    assert torch.equal(made.head.masked.decoder.weight[unknown], before[unknown])


def test_it_starts_from_the_answering_head_answer_by_answer(prepared: Prepared) -> None:
    made, answers = task(prepared), task(prepared).answers
    learnt = {f"head.{name}": torch.randn_like(value) for name, value in made.head.state_dict().items()}
    made.warm_start({"answering": Head(learnt, answers)})
    assert all(torch.equal(value, learnt[f"head.{name}"]) for name, value in made.head.state_dict().items())
    turned = task(prepared)
    turned.warm_start({"answering": Head(learnt, answers[::-1])})
    assert torch.equal(turned.head.pooled.weight, learnt["head.pooled.weight"].flip(0))
    assert torch.equal(turned.head.masked.decoder.bias, learnt["head.masked.decoder.bias"].flip(0))
    assert torch.equal(turned.head.masked.dense.weight, learnt["head.masked.dense.weight"])
    fewer = task(prepared, answers=2)
    fewer.warm_start({"answering": Head(learnt, answers)})
    assert torch.equal(fewer.head.pooled.bias, learnt["head.pooled.bias"][:2])


def test_a_head_of_other_answers_is_not_loaded(trained: Task, prepared: Prepared, tmp_path: Path) -> None:
    trained.save(tmp_path)
    about = json.loads((tmp_path / "task.json").read_text())
    about["rows"][0] = "perhaps"
    (tmp_path / "task.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"task\.json: its head is of \d+ labels or answers, .* is of one of them"):
        Task.load(tmp_path, prepared)


@pytest.mark.parametrize("rows", ["others", "nobody's"])
def test_as_many_answers_are_not_the_same_answers(prepared: Prepared, rows: str) -> None:
    made = task(prepared)
    learnt = {f"head.{name}": torch.full_like(value, 0.5) for name, value in made.head.state_dict().items()}
    before = {name: value.clone() for name, value in made.head.state_dict().items()}
    theirs = [f"not {answer}" for answer in made.answers] if rows == "others" else []
    made.warm_start({"answering": Head(learnt, theirs)})
    assert all(torch.equal(value, before[name]) for name, value in made.head.state_dict().items())


def test_a_fusion_without_fused_tokens_reads_the_pooled_state_alone(prepared: Prepared) -> None:
    section = {"training": models.recipe(1).model_dump(mode="json"), "questions_per_image": 2, "answers": 30}
    made = Task(parse(Params, section, "t"), models.model(prepared, models.CONCAT_MLP), prepared)
    made.warm_start({})
    batch = made.collate(prepared.split("train"), range(4), np.random.default_rng(0))
    assert made.head.masked is None and torch.isfinite(made(batch)["vqa_loss"])


def test_questions_of_answers_outside_the_vocabulary_are_never_drawn_and_always_wrong(prepared: Prepared) -> None:
    made = task(prepared, answers=2)
    train = prepared.split("train")
    batch = made.collate(train, range(len(train)), np.random.default_rng(0))
    assert set(batch.targets["answer"].tolist()) == {0, 1}
    assert len(batch.targets["answer"]) == len(batch.texts["question"].input_ids)
    made.calibrate(prepared.split("validation"), seed=0)
    found = made.evaluate(prepared.split("test"), seed=0, resamples=100)
    unknown = found.metrics["unknown_answers"]
    assert unknown > 0 and found.metrics["accuracy"] <= 1 - unknown / found.metrics["questions"]


def test_where_people_agree_to_a_part_an_answer_is_right_to_a_part(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    plain = trained.asked(test)
    assert "consensus_accuracy" not in trained.evaluate(test, seed=0, resamples=100).metrics
    people = [[answer] * 2 + ["something else"] * 8 for answer in plain.answer]
    people[0] = []  # nobody else was asked
    trained._asked["test"] = replace(plain, given=people)
    try:
        found = trained.evaluate(test, seed=0, resamples=100).metrics
    finally:
        trained._asked["test"] = plain
    right = trained.score(test).argmax(1)[1:] == plain.code[1:]
    assert found["consensus_questions"] == len(plain) - 1
    assert found["consensus_accuracy"] == pytest.approx(0.6 * right.mean())
    assert 0 <= found["question_only_consensus_accuracy"] <= 0.6
    by_type = found["consensus_accuracy_by_type"].values()
    assert sum(each["size"] for each in by_type) == len(plain) - 1


def test_data_without_questions_is_refused_by_name(tmp_path: Path) -> None:
    plain = Prepared(scenes.prepare(tmp_path, 20, questions=False))
    with pytest.raises(ValueError, match=r"0 answers .* give the source questions"):
        task(plain)


def test_a_batch_without_questions_teaches_nothing(prepared: Prepared) -> None:
    made, train = task(prepared), prepared.split("train")
    known = made.asked(train)
    made._asked[train.split] = replace(known, code=np.full_like(known.code, -1))
    found = made(made.collate(train, [0, 1], np.random.default_rng(0)))
    assert found.keys() == {NOTHING} and found[NOTHING].item() == 0.0, "it has no part in the mean"
    found[NOTHING].backward()
    assert all(each.grad is not None and not each.grad.any() for each in made.parameters())


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_whose_answers_nobody_can_give_is_refused_before_anything_is_trained(
    prepared: Prepared, split: str
) -> None:
    made = task(prepared)
    made.prepare(prepared.split("train"), seed=0)
    asked = made.asked(prepared.split(split))
    made._asked[split] = replace(asked, code=np.full(len(asked), -1))
    with pytest.raises(ValueError, match=f"split '{split}': no question's answer is one of the .* train split's"):
        made.prepare(prepared.split("train"), seed=0)
