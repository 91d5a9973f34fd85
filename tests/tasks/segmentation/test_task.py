"""Segmentation on a few real scenes: it learns, it reads, and neither batch nor padding changes a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from support import models, scenes
from vlp.data.loading import Plans, Prepared, in_order, loader
from vlp.params import parse
from vlp.tasks.segmentation import Params, Task
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit

SECTION = {
    "regions_per_image": 2,
    "width": 32,
    "rounds": 1,
    "heads": 2,
    "coarse_weight": 1.0,
    "dice_weight": 1.0,
    "evaluation_batch_size": 8,
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 40))


def task(prepared: Prepared, steps: int = 1, fusion: dict[str, object] | None = None) -> Task:
    seed_everything(0)
    section = {"training": models.recipe(steps).model_dump(mode="json"), **SECTION}
    return Task(parse(Params, section, "tasks.segmentation"), models.model(prepared, fusion), prepared)


@pytest.fixture(scope="module")
def trained(prepared: Prepared) -> Task:
    made = task(prepared, 40)
    train = prepared.split("train")
    history = fit(made, loader(train, made.collate, Plans(len(train), 8, 40, 0), seed=0), made.params.training)
    assert history.rows[-1]["mask_loss"] < 0.7 * history.rows[0]["mask_loss"]
    assert history.rows[-1]["dice_loss"] < history.rows[0]["dice_loss"] - 0.05
    made.calibrate(prepared.split("validation"), seed=0)
    return made


def masks_of(task: Task, prepared: Prepared, texts: list[str], row: int = 0) -> np.ndarray:
    """Logits [N, S, S] of texts about one test picture, by the tokenizer of the prepared data."""
    from vlp.data.loading import pad
    from vlp.preprocessing import text

    tokenizer = text.load_tokenizer(prepared.folder / "tokenizer" / "tokenizer.json")
    ids = [np.array(each, np.int32) for each in text.encode(tokenizer, texts, scenes.TEXT)]
    padded = pad(ids, [0] * len(ids), prepared.pad_id)
    with torch.inference_mode():
        image, embedded = task.embed(prepared.split("test").images([row]))
        own = [each.index_select(0, padded.image_index) for each in embedded]
        found, _ = task.decoded(image.index(padded.image_index), own, padded.input_ids, padded.attention_mask)
    return found.numpy()


def test_its_metrics_have_the_names_of_the_contract_and_an_interval_each(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    found = trained.evaluate(test, seed=0, resamples=200)
    floors = ("text_blind_miou", "saliency_miou", "all_background_pixel_accuracy")
    for name in ("miou", "pixel_accuracy", "boundary_f1", "precision_at_50", *floors):
        low, high = found.metrics[f"{name}_ci95"]
        assert low <= found.metrics[name] <= high
    assert found.metrics["regions"] == int(test.lengths("regions").sum())
    for cut in ("size", "objects", "words"):
        parts = found.metrics[f"miou_by_{cut}"].values()
        assert sum(each["size"] for each in parts) == found.metrics["regions"]
        mean = sum(each["size"] * each["value"] for each in parts) / found.metrics["regions"]
        assert mean == pytest.approx(found.metrics["miou"])
    assert set(found.metrics["miou_by_objects"]) <= set("12345")
    assert {"text_blind_miou", "saliency_miou", "all_background_pixel_accuracy"} <= set(found.metrics)
    assert found.metrics["threshold"] == trained.decision["threshold"]
    assert len(found.predictions) == found.metrics["regions"]
    assert found.predictions[0]["expression"].startswith("the ")
    assert sum(row["share"] for row in found.plots["iou"]) == pytest.approx(1)
    assert found.pictures["examples"].shape[1:] == (3 * 64, 3)


def test_regions_stand_beside_their_own_rows_and_targets(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    rows = np.concatenate([some.row for some in trained.found(test)])
    targets = np.concatenate([some.target for some in trained.found(test)])
    assert rows.tolist() == [row for row in range(len(test)) for _ in range(int(test.lengths("regions")[row]))]
    assert np.array_equal(targets, np.stack([mask for row in range(len(test)) for mask in test.masks(row)]))


def test_another_text_and_another_picture_have_another_mask(trained: Task, prepared: Prepared) -> None:
    one, two = masks_of(trained, prepared, ["the small red circle", "the large blue star"])
    assert np.abs(one - two).max() > 1e-3
    (other,) = masks_of(trained, prepared, ["the small red circle"], row=1)
    assert np.abs(one - other).max() > 0.1


def test_batch_size_and_padding_do_not_change_a_mask(trained: Task, prepared: Prepared) -> None:
    texts = ["the circle", "the large purple triangle", "the thing"]
    together = masks_of(trained, prepared, texts)
    for text, mask in zip(texts, together, strict=True):
        np.testing.assert_allclose(masks_of(trained, prepared, [text])[0], mask, atol=1e-4)


def test_texts_in_one_row_an_image_give_the_masks_of_texts_apart(trained: Task, prepared: Prepared) -> None:
    """In training the texts about one image are fused as one long row, in use one by one."""
    trained.eval()
    train = prepared.split("train")
    rows = [row for row in range(len(train)) if train.lengths("regions")[row] >= 2][:3]
    batch = trained.collate(train, rows, np.random.default_rng(0))
    texts = batch.texts["expression"]
    assert texts.per_image == 2
    with torch.inference_mode():
        image, embedded = trained.embed(batch.images)
        own = [each.index_select(0, texts.image_index) for each in embedded]
        ids = texts.input_ids, texts.attention_mask
        shared, _ = trained.decoded(image.of(texts), own, *ids)
        apart, _ = trained.decoded(image.index(texts.image_index), own, *ids)
    np.testing.assert_allclose(shared.numpy(), apart.numpy(), atol=1e-4)


def test_masks_of_a_batch_are_those_of_its_expressions(prepared: Prepared) -> None:
    made, train = task(prepared), prepared.split("train")
    batch = made.collate(train, range(4), np.random.default_rng(0))
    texts = batch.texts["expression"]
    for place in range(len(texts.image_index)):
        row = int(texts.image_index[place])
        ids = texts.input_ids[place][texts.attention_mask[place] == 1].numpy()
        known = train.ids("regions", "ids", row)
        chosen = [number for number, each in enumerate(known) if each is not None and np.array_equal(each, ids)]
        target = batch.targets["masks"][place].numpy() > 0.5
        assert any(np.array_equal(target, train.masks(row)[number]) for number in chosen)


def test_what_is_saved_comes_back_and_finds_the_same(trained: Task, prepared: Prepared, tmp_path: Path) -> None:
    trained.save(tmp_path)
    again = Task.load(tmp_path, prepared)
    assert again.decision == trained.decision
    text = ["the small circle"]
    # Training leaves the weights in another memory layout, in which sums run in another order.
    np.testing.assert_allclose(masks_of(trained, prepared, text), masks_of(again, prepared, text), atol=1e-4)


def test_data_without_regions_is_refused_by_split_and_field(tmp_path: Path) -> None:
    bare = Prepared(scenes.prepare(tmp_path, 12, regions=False))
    made = task(bare)
    with pytest.raises(ValueError, match="split 'train' has an entry in `regions`"):
        made.collate(bare.split("train"), [0, 1], np.random.default_rng(0))
    with pytest.raises(ValueError, match="split 'validation' has an entry in `regions`"):
        made.calibrate(bare.split("validation"), seed=0)
    with pytest.raises(ValueError, match="split 'validation' has an entry in `regions`"):
        made.prepare(bare.split("train"), seed=0)


@pytest.mark.parametrize("fusion", [models.CONCAT_MLP, {"name": "film", "hidden": 32, "layers": 1, "dropout": 0.0}])
def test_a_fusion_without_places_or_tokens_can_be_decoded(prepared: Prepared, fusion: dict[str, object]) -> None:
    made, train = task(prepared, fusion=fusion), prepared.split("train")
    (batch,) = loader(train, made.collate, in_order(4, 4), seed=0)
    losses = made(batch)
    losses["mask_loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())


def test_some_records_are_of_all_parts_of_a_split(trained: Task, prepared: Prepared) -> None:
    train = prepared.split("train")
    rows = np.unique(np.concatenate([some.row for some in trained.found(train, at_most=5)]))
    assert len(rows) == 5 and rows[0] == 0 and rows[-1] == len(train) - 1
    for some in trained.found(train, at_most=5):
        np.testing.assert_array_equal(some.images[some.place], train.images(some.row.tolist()).numpy())
