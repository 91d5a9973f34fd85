"""What every task owes its users: a word and a picture count, padding and company in a batch do not."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from support import models, scenes
from vlp.data.loading import Plans, Prepared, loader
from vlp.params import parse
from vlp.plugins import find, names
from vlp.records import Batch
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit

SECTIONS: dict[str, dict[str, Any]] = {
    "matching": {"captions_per_image": 2, "pair_weight": 1.0},
    "retrieval": {
        "captions_per_query": 2, "width": 8, "temperature": 0.07, "matching_weight": 1.0, "rerank": 2, "candidates": 4,
    },
    "vqa": {"questions_per_image": 4, "answers": 30},
    "captioning": {"captions_per_image": 2, "decoder": {"hidden": 32, "layers": 1, "heads": 2, "intermediate": 32}},
    "classification": {"kind": "multi", "modality": "both", "min_count": 4},
    "segmentation": {
        "regions_per_image": 2, "width": 16, "rounds": 1, "heads": 2, "coarse_weight": 1.0, "dice_weight": 1.0,
    },
    "generation": {
        "book": {"sprites": 24, "grounds": 4, "things": 3, "size": 12, "pictures": 40, "rounds": 4},
        "width": 16, "layers": 1, "heads": 2, "captions_per_image": 1, "orders": 2,
        "described": 0.2, "wordless": 0.1,
        "guidance": [1.0], "candidates": 1, "prompts": 4, "calibration_prompts": 2,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 40))


@pytest.fixture(scope="module", params=SECTIONS)
def trained(request: pytest.FixtureRequest, prepared: Prepared) -> Any:
    seed_everything(0)
    plugin = find("vlp.tasks", request.param)
    section = {**SECTIONS[request.param], "training": models.recipe(20).model_dump(mode="json")}
    made = plugin.Task(parse(plugin.Params, section, request.param), models.model(prepared), prepared)
    train = prepared.split("train")
    made.prepare(train, 0)
    fit(made, loader(train, made.collate, Plans(len(train), 8, 20, 0), seed=0), made.params.training)
    return made.eval()


def losses(task: Any, batch: Batch) -> dict[str, float]:
    with torch.no_grad():
        torch.manual_seed(1)  # of what generation is not told, and of retrieval's choice of negatives
        return {name: float(value) for name, value in task(batch).items() if name.endswith("_loss")}


@pytest.fixture
def batch(trained: Any, prepared: Prepared) -> Batch:
    return trained.collate(prepared.split("test"), range(4), np.random.default_rng(0))


def test_there_is_no_task_that_this_leaves_out() -> None:
    assert set(SECTIONS) == set(names("vlp.tasks"))


def test_masked_words_count(trained: Any, prepared: Prepared, batch: Batch) -> None:
    seen = losses(trained, batch)
    masked = copy.deepcopy(batch)
    for texts in masked.texts.values():
        middle = (texts.attention_mask.sum(1) // 2)[:, None]
        texts.input_ids.scatter_(1, middle, prepared.mask_id)
    found = losses(trained, masked)
    assert any(abs(found[name] - seen[name]) > 1e-4 for name in seen), (seen, found)


def test_the_picture_counts(trained: Any, batch: Batch) -> None:
    seen = losses(trained, batch)
    blank = copy.deepcopy(batch)
    blank.images.fill_(128)
    found = losses(trained, blank)
    assert any(abs(found[name] - seen[name]) > 1e-4 for name in seen), (seen, found)


def test_padding_does_not_count(trained: Any, prepared: Prepared, batch: Batch) -> None:
    wider = copy.deepcopy(batch)
    for texts in wider.texts.values():
        texts.input_ids = F.pad(texts.input_ids, (0, 3), value=prepared.pad_id)
        texts.attention_mask = F.pad(texts.attention_mask, (0, 3))
        if texts.targets is not None and texts.targets.ndim == 2:
            texts.targets = F.pad(texts.targets, (0, 3), value=-100)
    assert losses(trained, wider) == pytest.approx(losses(trained, batch), abs=1e-4)
