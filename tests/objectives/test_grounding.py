"""Grounding: what is told, what is asked of it, and that both can be learnt and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support import models, scenes
from vlp.data.loading import Plans, Prepared, loader
from vlp.models.nothing import NOTHING
from vlp.objectives.grounding import box, middle, places
from vlp.params import parse
from vlp.records import Batch
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit
from vlp.training.pretraining import Pretraining, PretrainParams

GROUNDING = {
    "weight": 1.0,
    "regions_per_image": 3,
    "heads": 1,
    "attention_weight": 1.0,
    "box_weight": 5.0,
    "step_weight": 5.0,
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 60))


def pretraining(prepared: Prepared, fusion: Any = None, **changed: Any) -> Pretraining:
    seed_everything(0)
    only = {"grounding": GROUNDING | changed}
    recipe = models.recipe(60, schedule="constant").model_dump(mode="json")
    phases = {"all": {"objectives": ["grounding"], "training": recipe}}
    values = {"captions_per_image": 1, "objectives": only, "phases": phases}
    model = models.model(prepared, fusion) if fusion else models.model(prepared)
    return Pretraining(model, parse(PretrainParams, values, "params.yaml: pretrain"), prepared)


def batch_of(module: Pretraining, rows: range = range(40)) -> Batch:
    return module.collate(module.prepared.split("train"), rows, np.random.default_rng(0))


def square(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((64, 64), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_a_box_is_centre_and_size() -> None:
    assert box(square(8, 16, 8, 24)).tolist() == [28 / 64, 12 / 64, 24 / 64, 8 / 64]


def test_places_are_those_a_tenth_covered_or_the_one_most_covered() -> None:
    assert np.flatnonzero(places(square(8, 16, 8, 24), (8, 8))).tolist() == [10, 11, 12]
    assert np.flatnonzero(places(square(3, 3, 2, 2), (8, 8))).tolist() == [0]
    assert places(square(0, 0, 64, 64), (7, 7)).all()  # a grid that does not divide the picture


def test_expressions_stand_in_one_text_with_a_masked_word_between(prepared: Prepared) -> None:
    batch = batch_of(pretraining(prepared))
    train = prepared.split("train")
    assert set(batch.texts) == {"regions"}  # no captions are drawn for it
    several = 0
    for row in range(40):
        ids = batch.texts["regions"].input_ids[row][batch.texts["regions"].attention_mask[row].bool()]
        asked = ~batch.targets["region_boxes"][row].isnan().any(-1)[: len(ids)]
        between = ~batch.targets["region_steps"][row].isnan().any(-1)[: len(ids)]
        known = {tuple(each[1:-1].tolist()) for each in train.ids("regions", "ids", row)}
        told = "".join("m" if token == prepared.mask_id else "." for token in ids.tolist())
        assert between.nonzero().flatten().tolist() == [
            place for place, kind in enumerate(told) if kind == "m" and known
        ]
        if known:
            spans = torch.tensor_split(ids[1:-1], between[1:-1].nonzero().flatten())
            assert {tuple(t for t in span.tolist() if t != prepared.mask_id) for span in spans} <= known
            assert asked.tolist() == [kind == "." and 0 < place < len(ids) - 1 for place, kind in enumerate(told)]
        several += len(known) > 1
    assert several > 5


def test_a_step_is_the_next_box_less_the_last(prepared: Prepared) -> None:
    batch = batch_of(pretraining(prepared))
    boxes, steps = batch.targets["region_boxes"], batch.targets["region_steps"]
    where = (~steps.isnan().any(-1)).nonzero()
    assert len(where)
    for row, place in where.tolist():
        torch.testing.assert_close(steps[row, place], boxes[row, place + 1] - boxes[row, place - 1])


@pytest.mark.slow
def test_it_is_learnt_and_looks_where_it_should(prepared: Prepared) -> None:
    module = pretraining(prepared)
    train = prepared.split("train")
    recipe = models.recipe(60, schedule="constant")
    history = fit(module, loader(train, module.collate, Plans(len(train), 8, 60, 0), seed=0), recipe, module.weights)
    first, last = history.rows[0], history.rows[-1]
    assert last["grounding_loss"] < 0.8 * first["grounding_loss"]
    assert last["looked_there"] > first["looked_there"]


def test_a_batch_that_names_nothing_teaches_nothing(prepared: Prepared) -> None:
    module = pretraining(prepared)
    batch = batch_of(module)
    for name in ("region_boxes", "region_steps"):
        batch.targets[name].fill_(float("nan"))
    found = module(batch)
    assert "grounding_loss" not in found, "it has no part in the mean"
    found[NOTHING].backward()
    assert all(not value.grad.any() for value in module.model.parameters() if value.grad is not None)


def test_a_fusion_that_looks_nowhere_is_refused(prepared: Prepared) -> None:
    module = pretraining(prepared, models.CONCAT_MLP)
    with pytest.raises(ValueError, match="grounding: fusion 'concat_mlp' has no tokens that look at places"):
        module(batch_of(module))


def test_data_without_regions_is_refused(tmp_path: Path) -> None:
    plain = Prepared(scenes.prepare(tmp_path, 20, regions=False))
    with pytest.raises(ValueError, match=r"grounding: .*no training record has a region; remove the objective"):
        pretraining(plain)


def test_a_thing_counts_once_wherever_it_lies() -> None:
    at_a_middle = middle(np.array([0.375, 0.125, 0.1, 0.1]), (4, 4)).reshape(4, 4)
    assert at_a_middle[0, 1] == 1 and at_a_middle.sum() == 1
    at_a_corner = middle(np.array([0.5, 0.5, 0.1, 0.1]), (4, 4)).reshape(4, 4)
    assert (at_a_corner[1:3, 1:3] == 0.25).all() and at_a_corner.sum() == 1
    for x, y in np.random.default_rng(0).random((20, 2)):
        assert middle(np.array([x, y]), (3, 5)).sum() == pytest.approx(1)


def test_counting_is_learnt_where_the_fusion_block_counts_and_refused_where_it_does_not(prepared: Prepared) -> None:
    with pytest.raises(ValueError, match=r"count_weight: the fusion block does not count"):
        plain = pretraining(prepared, count_weight=1.0)
        plain(plain.collate(prepared.split("train"), range(4), np.random.default_rng(0)))
    module = pretraining(prepared, models.CROSS_ATTENTION | {"counting_heads": 1}, count_weight=1.0)
    train = prepared.split("train")
    recipe = models.recipe(60, schedule="constant")
    rows = fit(module, loader(train, module.collate, Plans(len(train), 8, 60, 0), seed=0), recipe).rows
    assert rows[-1]["count_error"] < 0.7 * rows[0]["count_error"]


def test_one_region_an_image_is_learnt_without_steps(prepared: Prepared) -> None:
    module, train = pretraining(prepared, regions_per_image=1), prepared.split("train")
    rows = fit(module, loader(train, module.collate, Plans(len(train), 8, 2, 1), seed=1), models.recipe(2)).rows
    assert "step_error" not in rows[-1]
