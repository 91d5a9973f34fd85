"""Classification on a few real scenes: it learns, it looks at what it should, and batches do not change it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from support import models, scenes, watching
from vlp.data.loading import Plans, Prepared, loader
from vlp.evaluation.cross_validation import METRICS, cross_validate
from vlp.models.heads import Head
from vlp.params import ParamsError, parse
from vlp.tasks.classification import Params, Task, labels
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit

SECTION = {"kind": "multi", "modality": "image", "min_count": 8, "prompts": ["a {label}", "{label}"]}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 60))


def contrastive(width: int = 24) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "image.weight": torch.randn(width, 128, generator=generator),
        "text.weight": torch.randn(width, 32, generator=generator),
        "logit_scale": torch.tensor(2.0),
    }


def task(prepared: Prepared, steps: int = 1, **more: object) -> Task:
    seed_everything(0)
    section = {**SECTION, "training": models.recipe(steps).model_dump(mode="json"), **more}
    return Task(parse(Params, section, "tasks.classification"), models.model(prepared), prepared)


def train(made: Task, prepared: Prepared, steps: int) -> list[dict[str, float]]:
    made.warm_start({"contrastive": contrastive()})
    split = prepared.split("train")
    batches = loader(split, made.collate, Plans(len(split), 8, steps, 0), seed=0)
    rows = fit(made, batches, made.params.training).rows
    made.calibrate(prepared.split("validation"), seed=0)
    return rows


@pytest.fixture(scope="module")
def trained(prepared: Prepared) -> Task:
    made = task(prepared, 60)
    rows = train(made, prepared, 60)
    assert rows[-1]["classification_loss"] < rows[0]["classification_loss"] - 0.1
    return made


def test_it_remembers_what_it_was_trained_on(trained: Task, prepared: Prepared) -> None:
    split = prepared.split("train")
    called = trained.called(trained.probabilities(trained.score(split)[0]))
    assert (called == trained.table(split)).mean() > 0.75


def test_its_metrics_have_the_names_of_the_contract(trained: Task, prepared: Prepared) -> None:
    found = trained.evaluate(prepared.split("test"), seed=0, resamples=200).metrics
    for figures in (found, found["zero_shot"]):
        for name in ("accuracy", "hamming_accuracy", "macro_precision", "macro_recall", "macro_f1", "macro_roc_auc"):
            low, high = figures[f"{name}_ci95"]
            assert 0 <= low <= high <= 1 and 0 <= figures[name] <= 1
    assert 0 <= found["nearest_by_colour"]["macro_f1"] <= 1
    for name in ("accuracy", "macro_f1", "every_label_macro_f1"):
        low, high = found["majority"][f"{name}_ci95"]
        assert low <= found["majority"][name] <= high
    assert found["majority"]["macro_f1"] <= found["majority"]["every_label_macro_f1"]
    table = trained.table(prepared.split("test"))
    sizes = {label: entry["size"] for label, entry in found["by_label"].items()}
    assert sizes == {label: count for label, count in zip(trained.labels, table.sum(0), strict=True) if label in sizes}
    for slices in ("accuracy_by_label_count", "accuracy_by_objects"):
        assert sum(entry["size"] for entry in found[slices].values()) == 9 == found["images"]


def test_evaluation_encodes_each_picture_once(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    with watching.rows(trained.model.image_encoder) as seen:
        found = trained.evaluate(test, seed=0, resamples=100)
    assert sum(seen) == len(test)
    assert found.frozen is not None


def test_a_linear_head_on_its_frozen_features_is_cross_validated_by_group(trained: Task, prepared: Prepared) -> None:
    frozen = trained.evaluate(prepared.split("train"), seed=0, resamples=100).frozen
    assert frozen is not None
    found = cross_validate(
        frozen.features, frozen.targets, frozen.groups, METRICS[frozen.metric], folds=3, seed=0, exclusive=False
    )
    assert len(found["folds"]) == 3 and 0.2 < found["pooled"] <= 1


def test_a_training_picture_is_its_own_nearest_by_colour(trained: Task, prepared: Prepared) -> None:
    train = prepared.split("train")
    table = trained.table(train)
    np.testing.assert_array_equal(labels.of_nearest(train, train, table), table)


def test_a_blanked_picture_changes_the_answer(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    seen, blank = trained.score(test)[0], trained.score(test, blank=True)[0]
    assert np.abs(seen - blank).max() > 0.5
    np.testing.assert_allclose(blank, blank[[0]].repeat(len(blank), 0), atol=1e-4)


@pytest.mark.parametrize("modality", ["image", "text", "both"])
def test_batch_size_and_padding_do_not_change_a_score(prepared: Prepared, modality: str) -> None:
    test = prepared.split("test")
    made = task(prepared, modality=modality)
    together = made.score(test)[0]
    made.params = made.params.model_copy(update={"evaluation_batch_size": 1})
    np.testing.assert_allclose(made.score(test)[0], together, atol=1e-4)


@pytest.mark.parametrize("modality", ["text", "both"])
def test_it_learns_from_what_is_said(prepared: Prepared, modality: str) -> None:
    made = task(prepared, 60, modality=modality)
    rows = train(made, prepared, 60)
    assert rows[-1]["classification_loss"] < rows[0]["classification_loss"]
    test = prepared.split("test")
    assert np.abs(made.score(test)[0] - made.score(test, mute=True)[0]).max() > 0.01
    found = made.evaluate(test, seed=0, resamples=100).metrics
    assert ("text_only" in found) == ("image_only" in found) == (modality == "both")
    assert ("zero_shot" in found) == (modality == "both")


def test_records_of_several_labels_are_not_read_as_one(prepared: Prepared) -> None:
    made = task(prepared, kind="single")
    with pytest.raises(ValueError, match=r"split 'train': record '.*' has \d+ labels, .* set it to multi"):
        made.table(prepared.split("train"))


def test_a_single_label_is_learnt_calibrated_and_measured(prepared: Prepared) -> None:
    made = task(prepared, 20, kind="single")
    for split in ("train", "validation", "test"):
        found = made_table(prepared, split, made.labels)
        made._tables[split] = found
    rows = train(made, prepared, 20)
    assert rows[-1]["classification_loss"] < rows[0]["classification_loss"]
    found = made.evaluate(prepared.split("test"), seed=0, resamples=100).metrics
    called = made.called(made.probabilities(made.score(prepared.split("test"))[0]))
    assert (called.sum(1) == 1).all()
    assert found["images"] + found["left_out"] == 9
    assert "thresholds" not in made.decision


def made_table(prepared: Prepared, split: str, labels: list[str]) -> np.ndarray:
    """The first label of each record alone; the second record has none."""
    several = prepared.split(split)
    table = np.zeros((len(several), len(labels)), bool)
    for row in range(len(several)):
        known = [name for name in several.labels(row) if name in labels]
        if known and row != 1:
            table[row, labels.index(known[0])] = True
    return table


def test_what_is_saved_comes_back_with_its_baseline(trained: Task, prepared: Prepared, tmp_path: Path) -> None:
    trained.save(tmp_path)
    again = Task.load(tmp_path, prepared)
    test = prepared.split("test")
    assert np.array_equal(trained.score(test)[0], again.score(test)[0])
    assert np.array_equal(trained.prompted(test), again.prompted(test))
    assert torch.equal(trained.zero_shot.thresholds, again.zero_shot.thresholds)
    assert again.decision == trained.decision


def test_the_baseline_is_the_backbone_before_it_was_trained(trained: Task, prepared: Prepared) -> None:
    made = task(prepared)
    made.warm_start({"contrastive": contrastive()})
    test = prepared.split("test")
    np.testing.assert_allclose(made.prompted(test), trained.prompted(test), atol=1e-5)
    assert np.abs(made.prompted(test)).max() <= 1 + 1e-5
    moved = trained.model.image_encoder(test.images([0])).pooled
    assert not torch.allclose(trained.zero_shot.image_encoder(test.images([0])).pooled, moved)


def test_without_a_contrastive_head_there_is_no_such_baseline(prepared: Prepared, tmp_path: Path) -> None:
    made = task(prepared)
    made.warm_start({})
    made.calibrate(prepared.split("validation"), seed=0)
    made.save(tmp_path)
    again = Task.load(tmp_path, prepared)
    assert "zero_shot" not in again.evaluate(prepared.split("test"), seed=0, resamples=100).metrics


def test_it_starts_from_the_tagging_head_label_by_label(prepared: Prepared) -> None:
    made = task(prepared)
    before, count = made.grid.weight.clone(), len(made.labels)
    learnt = {"logits.weight": torch.randn(count, 128), "logits.bias": torch.randn(count)}
    made.warm_start({"tagging": Head(learnt, ["not " + name for name in made.labels])})
    made.warm_start({"tagging": Head(learnt)})
    assert torch.equal(made.grid.weight, before), "as many labels are not the same labels"
    made.warm_start({"tagging": Head(learnt, [*made.labels[1:], "another"])})
    assert torch.equal(made.grid.weight[0], before[0])
    assert torch.equal(made.grid.weight[1:], learnt["logits.weight"][:-1])
    assert torch.equal(made.grid.bias[1:], learnt["logits.bias"][:-1])


def test_what_is_not_looked_through_is_not_trained(prepared: Prepared) -> None:
    made = task(prepared)
    assert not any(part.requires_grad for part in made.model.text_encoder.parameters())
    assert all(part.requires_grad for part in made.model.image_encoder.parameters())
    read = task(prepared, modality="text")
    assert not any(part.requires_grad for part in read.model.image_encoder.parameters())
    assert all(part.requires_grad for part in read.model.text_encoder.parameters())


def test_data_without_labels_is_refused_by_name(tmp_path: Path, prepared: Prepared) -> None:
    plain = Prepared(scenes.prepare(tmp_path, 20, labels=False))
    with pytest.raises(ValueError, match=r"0 labels .* name the field `labels` in the source"):
        task(plain)
    with pytest.raises(ValueError, match=r"split 'test' has no record with any of the .* the field `labels`"):
        task(prepared).table(plain.split("test"))


def test_where_text_is_read_records_without_a_caption_are_refused_before_training(tmp_path: Path) -> None:
    some = Prepared(scenes.prepare(tmp_path, 40, bare=2))
    with pytest.raises(ValueError, match=r"2 of 28 records of the split 'train' have no caption"):
        task(some, modality="both").prepare(some.split("train"), seed=0)
    task(some).prepare(some.split("train"), seed=0)  # of pictures nothing is read


def test_a_split_without_labels_is_refused_before_anything_is_trained(tmp_path: Path, prepared: Prepared) -> None:
    made = task(prepared)
    made.prepared = Prepared(scenes.prepare(tmp_path, 20, labels=False))
    with pytest.raises(ValueError, match="split 'validation' has no record with any of the"):
        made.prepare(prepared.split("train"), seed=0)


def test_a_prompt_that_says_the_same_of_every_label_is_refused(prepared: Prepared) -> None:
    with pytest.raises(ParamsError, match=r"prompts: expected \{label\} in 'a picture of a thing': without it"):
        task(prepared, prompts=["a {label}", "a picture of a thing"])
