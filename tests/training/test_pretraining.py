"""Pre-training on a few real scenes: what each objective sees, that it learns, and that it cannot be fooled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import models, scenes
from vlp.data.loading import Plans, Prepared, loader
from vlp.models.modeling import VLPModel
from vlp.objectives.base import Step
from vlp.params import ParamsError, parse
from vlp.plugins import UnknownPluginError
from vlp.records import Batch
from vlp.tasks.base import pretrained_heads
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit
from vlp.training.pretraining import Pretraining, PretrainParams

OBJECTIVES: dict[str, dict[str, Any]] = {
    "matching": {"weight": 1.0, "in_batch_negatives": 1},
    "contrastive": {"weight": 0.5, "width": 16, "temperature": 0.07},
    "masked_text": {"weight": 1.0, "mask_share": 0.3, "captions_per_image": 2},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 40))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The same scenes without minimal edits, as most collected data is."""
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("plain"), 40, negatives=False))


def params(steps: int = 30, objectives: dict[str, dict[str, Any]] | None = None) -> PretrainParams:
    return parse(
        PretrainParams,
        {
            "captions_per_image": 3,
            "objectives": objectives or OBJECTIVES,
            "training": models.recipe(steps).model_dump(mode="json"),
        },
        "params.yaml: pretrain",
    )


def pretraining(prepared: Prepared, **objectives: dict[str, Any]) -> Pretraining:
    seed_everything(0)
    return Pretraining(models.model(prepared), params(objectives=objectives or None), prepared)


def batch_of(module: Pretraining, prepared: Prepared, rows: int = 6) -> Batch:
    return module.collate(prepared.split("train"), range(rows), np.random.default_rng(0))


def step_of(module: Pretraining, batch: Batch) -> Step:
    texts = batch.texts["positive"]
    return Step(
        model=module.model,
        batch=batch,
        image=module.model.encode_image(batch.images),
        text=module.model.encode_text(texts.input_ids, texts.attention_mask),
    )


def test_every_image_brings_its_captions_their_edits_and_masked_copies(prepared: Prepared) -> None:
    batch = batch_of(pretraining(prepared), prepared)
    assert {name: (len(texts.input_ids), texts.per_image) for name, texts in batch.texts.items()} == {
        "positive": (18, 3),
        "negative": (18, 3),
        "masked": (12, 2),
    }
    assert bool(batch.targets["has_negative"].all())


def test_all_losses_fall_on_scenes(prepared: Prepared) -> None:
    module = pretraining(prepared)
    train = prepared.split("train")
    history = fit(
        module, loader(train, module.collate, Plans(len(train), 8, 30, 0), seed=0), params().training, module.weights
    )
    first, last = history.rows[0], history.rows[-1]
    assert last["mlm_loss"] < first["mlm_loss"] - 0.5
    assert last["itc_loss"] < first["itc_loss"]
    assert last["itm_base_rate_entropy"] == pytest.approx(np.log(2), abs=1e-5)


def test_the_target_of_a_masked_token_is_the_token_that_stood_there(prepared: Prepared) -> None:
    batch = batch_of(pretraining(prepared), prepared)
    masked = batch.texts["masked"]
    assert masked.targets is not None
    hidden = masked.targets != -100
    assert (hidden.sum(1) >= 1).all()
    assert not hidden[masked.attention_mask == 0].any()
    restored = torch.where(hidden, masked.targets, masked.input_ids)
    captions = {tuple(ids.tolist()) for ids in _unpadded(batch.texts["positive"])}
    assert {tuple(ids.tolist()) for ids in _unpadded(masked, restored)} <= captions
    special = torch.tensor(sorted(prepared.special_ids))
    assert not torch.isin(masked.targets[hidden], special).any()


def _unpadded(texts: Any, ids: Any = None) -> list[Any]:
    rows = texts.input_ids if ids is None else ids
    return [row[mask.bool()] for row, mask in zip(rows, texts.attention_mask, strict=True)]


def test_a_caption_that_two_images_share_is_a_positive_of_both(prepared: Prepared) -> None:
    module = pretraining(prepared)
    batch = batch_of(module, prepared)
    batch.targets["caption_key"][0] = batch.targets["caption_key"][17]  # a caption of image 0, also one of image 5
    same = step_of(module, batch).same_caption
    assert same[0].tolist() == [True, False, False, False, False, True]
    assert same[17].tolist() == [True, False, False, False, False, True]
    assert same[4].tolist() == [False, True, False, False, False, False]


def test_a_shared_caption_is_never_drawn_as_a_negative(plain: Prepared) -> None:
    module = pretraining(plain, matching={"weight": 1.0, "in_batch_negatives": 2})
    batch = batch_of(module, plain)
    batch.targets["caption_key"][:] = 7  # every image has every caption: nothing is left to be a negative
    scalars = module(batch)
    assert float(scalars["itm_base_rate_entropy"]) == 0.0
    batch = batch_of(module, plain)
    assert float(module(batch)["itm_base_rate_entropy"]) == pytest.approx(0.6365, abs=1e-3)  # 1 true : 2 false


def test_contrastive_loss_is_zero_at_best_and_log_n_without_a_clue(prepared: Prepared) -> None:
    module = pretraining(prepared, contrastive=OBJECTIVES["contrastive"])
    head = module.objectives["contrastive"]
    with torch.no_grad():
        head.logit_scale.fill_(0.0)  # type: ignore[union-attr]
        head.text.weight.zero_()  # type: ignore[union-attr]
        head.text.weight[0].fill_(1e-9)  # type: ignore[union-attr]
        batch = batch_of(module, prepared)
        batch.targets["caption_key"] = torch.arange(18)
        blind = float(module(batch)["itc_loss"])
    texts, images = np.log(6), np.log(18)  # one image of six; three captions of eighteen, spread evenly
    assert blind == pytest.approx((texts + images) / 2, abs=0.6)


def test_masking_needs_fused_tokens_and_says_so(prepared: Prepared) -> None:
    seed_everything(0)
    only = {"masked_text": OBJECTIVES["masked_text"]}
    module = Pretraining(models.model(prepared, models.CONCAT_MLP), params(objectives=only), prepared)
    with pytest.raises(ValueError, match="fusion 'concat_mlp' joins pooled features"):
        module(batch_of(module, prepared))


def test_an_unknown_objective_or_key_is_one_clear_line(prepared: Prepared) -> None:
    with pytest.raises(UnknownPluginError, match="did you mean 'matching'"):
        pretraining(prepared, maching={"weight": 1.0})
    with pytest.raises(ParamsError, match=r"pretrain\.objectives\.contrastive: widht: unknown key; did you mean 'width'"):
        pretraining(prepared, contrastive={**OBJECTIVES["contrastive"], "widht": 3})


def test_what_is_saved_comes_back(prepared: Prepared, tmp_path: Path) -> None:
    module = pretraining(prepared)
    module.save(tmp_path)
    heads = pretrained_heads(tmp_path)
    assert set(heads) == set(OBJECTIVES)
    for name, objective in module.objectives.items():
        assert all(torch.equal(value, heads[name][key]) for key, value in objective.state_dict().items())
    again = VLPModel.from_pretrained(tmp_path)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in module.model.state_dict().items())
