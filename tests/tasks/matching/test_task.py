"""Matching on a few real scenes: it learns, it looks at both sides, and neither batch nor padding changes it."""

from __future__ import annotations

from copy import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from support import bundles, models, scenes, watching
from vlp.data.loading import Examples, Plans, Prepared, loader
from vlp.evaluation.cross_validation import METRICS, cross_validate
from vlp.models.nothing import NOTHING
from vlp.params import parse
from vlp.tasks.matching import Params, Task
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 60))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("plain"), 60, negatives=False))


def task(prepared: Prepared, steps: int = 1) -> Task:
    seed_everything(0)
    section = {"training": models.recipe(steps).model_dump(mode="json"), "captions_per_image": 4, "pair_weight": 1.0}
    return Task(parse(Params, section, "tasks.matching"), models.model(prepared), prepared)


@pytest.fixture(scope="module")
def trained(prepared: Prepared) -> Task:
    made = task(prepared, 80)
    train = prepared.split("train")
    history = fit(made, loader(train, made.collate, Plans(len(train), 8, 80, 0), seed=0), made.params.training)
    assert history.rows[-1]["matching_loss"] < history.rows[0]["matching_loss"] - 0.05
    made.calibrate(prepared.split("validation"), seed=0)
    return made


def test_it_remembers_what_it_was_trained_on(trained: Task, prepared: Prepared) -> None:
    train = prepared.split("train")
    pairs = trained.pairs(train, seed=0)
    true, edit = (trained.score(train, pairs.row, texts) for texts in (pairs.true, pairs.hard))
    assert (true > edit).mean() > 0.6


def test_its_metrics_have_the_names_of_the_contract_and_an_interval_each(trained: Task, prepared: Prepared) -> None:
    found = trained.evaluate(prepared.split("test"), seed=0, resamples=200)
    names = ("accuracy", "precision", "recall", "f1", "roc_auc", "hard_negative_accuracy", "base_rate", "ece")
    names += ("majority_accuracy", "text_only_accuracy", "text_only_hard_negative_accuracy", "image_only_accuracy")
    for name in names:
        low, high = found.metrics[f"{name}_ci95"]
        # A calibration error of resampled rows is above that of all of them: chance adds to every bin.
        assert low <= found.metrics[name] <= high or np.isnan(found.metrics[name]) or name == "ece"
    assert found.metrics["image_only_hard_negative_accuracy"] == found.metrics["majority_accuracy"] == 0.5
    assert found.metrics["base_rate"] == 0.5
    assert found.metrics["images"] == 9 and found.metrics["pairs"] == 2 * 9 * 4
    for cut in ("kind", "objects", "words"):
        parts = found.metrics[f"hard_negative_accuracy_by_{cut}"].values()
        assert sum(each["size"] for each in parts) == 36
        mean = sum(each["size"] * each["value"] for each in parts) / 36
        assert mean == pytest.approx(found.metrics["hard_negative_accuracy"])
    assert set(found.plots) == {"roc", "precision_recall", "confusion", "calibration"}
    assert len(found.predictions) == 36
    assert {row["caption"] for row in found.predictions} == {0, 1, 2, 3}


def test_without_the_picture_true_and_edited_statements_are_told_apart_by_the_text_alone(
    trained: Task, prepared: Prepared
) -> None:
    test = prepared.split("test")
    pairs = trained.pairs(test, seed=0)
    blank = trained.score(test, pairs.row, pairs.true, blank=True)
    same = {}
    for ids, score in zip(pairs.true, blank.tolist(), strict=True):
        assert same.setdefault(ids.tobytes(), score) == pytest.approx(score, abs=1e-5)
    assert not np.allclose(blank, trained.score(test, pairs.row, pairs.true))


def test_without_the_words_a_picture_has_one_score(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    pairs = trained.pairs(test, seed=0)
    mute = trained.score(test, pairs.row, pairs.true, mute=True)
    for row in range(len(test)):
        np.testing.assert_allclose(mute[pairs.row == row], mute[pairs.row == row][0], atol=1e-5)
    assert not np.allclose(mute, trained.score(test, pairs.row, pairs.true))


def test_evaluation_encodes_each_picture_once(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    with watching.rows(trained.model.image_encoder) as seen:
        found = trained.evaluate(test, seed=0, resamples=100)
    assert sum(seen) == len(test) + 1, "those of the split, and one that shows nothing"
    assert found.frozen is not None


def test_a_linear_head_on_its_frozen_features_is_cross_validated_by_group(trained: Task, prepared: Prepared) -> None:
    train = prepared.split("train")
    frozen, captions = trained.evaluate(train, seed=0, resamples=100).frozen, int(train.lengths("captions").sum())
    assert frozen is not None
    assert frozen.features.shape == (2 * captions, 32) and len(frozen.groups) == 2 * captions
    assert frozen.targets[:, 0].mean() == 0.5
    found = cross_validate(
        frozen.features, frozen.targets, frozen.groups, METRICS[frozen.metric], folds=3, seed=0, exclusive=True
    )
    assert found["pooled"] == pytest.approx(np.mean(found["folds"])) and 0.3 < found["pooled"] <= 1


def test_batch_size_and_padding_do_not_change_a_score(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    pairs = trained.pairs(test, seed=0)
    together = trained.score(test, pairs.row, pairs.true)
    alone = [trained.score(test, pairs.row[i : i + 1], pairs.true[i : i + 1])[0] for i in range(6)]
    assert np.allclose(together[:6], alone, atol=1e-5)


def test_what_is_saved_comes_back_and_scores_the_same(trained: Task, prepared: Prepared, tmp_path: Path) -> None:
    trained.save(tmp_path)
    again = Task.load(tmp_path, prepared)
    test = prepared.split("test")
    pairs = trained.pairs(test, seed=0)
    assert np.array_equal(trained.score(test, pairs.row, pairs.true), again.score(test, pairs.row, pairs.true))
    assert again.decision == trained.decision


def test_a_folder_of_another_task_is_refused(trained: Task, prepared: Prepared, tmp_path: Path) -> None:
    trained.save(tmp_path)
    about = tmp_path / "task.json"
    about.write_text(about.read_text().replace('"matching"', '"captioning"'))
    with pytest.raises(ValueError, match="holds the task 'captioning', not 'matching'"):
        Task.load(tmp_path, prepared)


@pytest.mark.parametrize("what", ["vocabulary_size", "image_size"])
def test_a_task_of_other_data_is_refused(trained: Task, prepared: Prepared, tmp_path: Path, what: str) -> None:
    trained.save(tmp_path)
    other = copy(prepared)
    setattr(other, what, getattr(prepared, what) - 3)
    with pytest.raises(ValueError, match=rf"{what} is \d+, of .* it is \d+: train the task on this data"):
        Task.load(tmp_path, other)


def test_it_starts_from_the_pre_trained_head(prepared: Prepared) -> None:
    made = task(prepared)
    head = {"logit.weight": torch.full((1, 32), 0.5), "logit.bias": torch.tensor([2.0])}
    made.warm_start({"matching": head, "contrastive": {"image": torch.zeros(1)}})
    assert torch.equal(made.logit.weight, head["logit.weight"]) and float(made.logit.bias.detach()) == 2.0


def test_data_without_edits_is_held_against_captions_of_other_groups(plain: Prepared) -> None:
    made = task(plain)
    pairs = made.pairs(plain.split("test"), seed=0)
    assert not pairs.edited.any()
    own: dict[int, set[bytes]] = {}
    for row, ids in zip(pairs.row.tolist(), pairs.true, strict=True):
        own.setdefault(row, set()).add(ids.tobytes())
    for row, easy, hard in zip(pairs.row.tolist(), pairs.easy, pairs.hard, strict=True):
        for other in (easy, hard):
            assert other.tobytes() not in own[row]
            assert any(other.tobytes() in texts for at, texts in own.items() if at != row)
    batch = made.collate(plain.split("train"), range(6), np.random.default_rng(0))
    targets = batch.texts["statement"].targets
    assert targets is not None and float(targets.mean()) == 0.5


def test_a_split_of_one_group_is_refused_before_anything_is_trained(
    prepared: Prepared, plain: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = task(plain)
    made.prepare(plain.split("train"), seed=0)
    monkeypatch.setattr(Examples, "strings", lambda self, name: ["one"] * len(self))
    with pytest.raises(ValueError, match="split 'validation' has no caption with a negative: the matching task needs"):
        made.prepare(plain.split("train"), seed=0)
    task(prepared).prepare(prepared.split("train"), seed=0)  # edits are negatives, too


def test_a_caption_that_another_picture_shares_is_no_negative_of_its_own(tmp_path: Path) -> None:
    bundles.write_prepared(
        tmp_path, records=12, edits=False
    )  # pictures of two colours: half of them share all they have
    made = bundles.tiny_matching(tmp_path)
    made.params = made.params.model_copy(update={"captions_per_image": 1})
    train = Prepared(tmp_path).split("train")
    own = [{ids.tobytes() for ids in train.ids("captions", "ids", row) if ids is not None} for row in range(len(train))]
    for seed in range(10):
        texts = (batch := made.collate(train, range(len(train)), np.random.default_rng(seed))).texts["statement"]
        for place in batch.targets["false"].tolist():
            ids = texts.input_ids[place][texts.attention_mask[place].bool()].numpy().astype(np.int32)
            assert ids.tobytes() not in own[int(texts.image_index[place])]
    pairs = made.pairs(train, seed=0)
    assert len(pairs.row) == 2 * len(train)
    for row, *others in zip(pairs.row.tolist(), pairs.easy, pairs.hard, strict=True):
        assert not own[row] & {other.tobytes() for other in others}


def test_a_batch_in_which_nothing_is_false_teaches_nothing(plain: Prepared) -> None:
    made, train = task(plain), plain.split("train")
    batch = made.collate(train, [0], np.random.default_rng(0))  # other captions of one picture are true of it
    assert not len(batch.targets["true"])
    found = made(batch)
    assert found.keys() == {NOTHING}
    sum(found.values()).backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in made.parameters())
