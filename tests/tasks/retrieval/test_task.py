"""Retrieval on a few real scenes: it learns, it looks at both sides, and neither batch nor padding changes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from support import models, scenes, watching
from vlp.data.loading import Plans, Prepared, loader
from vlp.models.nothing import NOTHING
from vlp.params import parse
from vlp.tasks.retrieval import Params, Task
from vlp.tasks.retrieval.candidates import Candidates, cut, gather
from vlp.tasks.retrieval.report import _sliced
from vlp.tasks.retrieval.scores import TEXT_TO_IMAGE
from vlp.training.determinism import seed_everything
from vlp.training.engine import Engine
from vlp.training.loop import average, fit


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 60))


def task(prepared: Prepared, steps: int = 1, **more: object) -> Task:
    seed_everything(0)
    section = {
        "training": models.recipe(steps).model_dump(mode="json"),
        "captions_per_query": 4,
        "width": 16,
        "temperature": 0.07,
        "matching_weight": 1.0,
        "rerank": 5,
        "candidates": 30,
        "evaluation_batch_size": 4,
        **more,
    }
    return Task(parse(Params, section, "tasks.retrieval"), models.model(prepared), prepared)


@pytest.fixture(scope="module")
def trained(prepared: Prepared) -> Task:
    made = task(prepared, 160)
    train = prepared.split("train")
    history = fit(made, loader(train, made.collate, Plans(len(train), 8, 160, 0), seed=0), made.params.training)
    assert history.rows[-1]["contrastive_loss"] < history.rows[0]["contrastive_loss"] - 0.3
    assert history.rows[-1]["matching_loss"] < history.rows[0]["matching_loss"]
    made.calibrate(prepared.split("validation"), seed=0)
    return made.eval()


def test_it_finds_what_it_was_trained_on(trained: Task, prepared: Prepared) -> None:
    found = trained.evaluate(prepared.split("train"), seed=0, resamples=100)
    assert found.metrics["candidates"] == 30
    for direction in ("image_to_text", "text_to_image"):
        assert found.metrics[f"{direction}_r5"] > 0.5 > 5 * found.metrics[f"random_{direction}_r1"]


def test_its_metrics_have_the_names_of_the_contract(trained: Task, prepared: Prepared) -> None:
    found = trained.evaluate(prepared.split("test"), seed=0, resamples=100)
    for direction in ("image_to_text", "text_to_image"):
        for k in (1, 5, 10):
            for way in ("", "first_stage_", "single_caption_"):
                low, high = found.metrics[f"{way}{direction}_r{k}_ci95"]
                assert low <= found.metrics[f"{way}{direction}_r{k}"] <= high
            assert found.metrics[f"random_{direction}_r{k}"] == pytest.approx(min(k / 9, 1))
        assert sum(each["size"] for each in found.metrics[f"{direction}_r1_by_objects"].values()) == 9
        # The candidate's own description is true, so more first answers are judged right than are the record's own.
        assert found.metrics[f"judged_{direction}_r1"] >= found.metrics[f"{direction}_r1"]
        assert 0 <= found.metrics[f"nearest_by_colour_{direction}_r1"] <= 1
    assert found.metrics["candidates"] == found.metrics["texts"] == 9
    assert found.metrics["single_caption_texts"] == 36
    ranks = [row["rank"] for row in found.predictions]
    assert len(ranks) == 18 and found.metrics["median_rank"] == np.median(ranks)
    assert [row["k"] for row in found.plots["image_to_text_recall"]] == list(range(1, 10))


def test_a_blanked_image_changes_both_stages(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    batch = trained.collate(test, range(4), np.random.default_rng(0))
    texts = batch.texts["caption"]
    with torch.no_grad():
        text = trained.model.encode_text(texts.input_ids, texts.attention_mask)
        seen, blank = (trained.model.encode_image(each) for each in (batch.images, torch.full_like(batch.images, 128)))
        places = torch.arange(len(texts.input_ids))
        counted = batch.targets["counted"].float()
        near, far = (trained.similarity(each, text, counted) for each in (seen, blank))
        assert (near - far).abs().max() > 0.1
        own, none = (trained.logits(each, text, texts.attention_mask, places) for each in (seen, blank))
    assert (own - none).abs().max() > 0.1


def test_batch_size_and_padding_do_not_change_a_score(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    found = gather(test, 9, 4)
    together = trained.score(test, found)
    one = task(prepared, evaluation_batch_size=1)
    one.load_state_dict(trained.state_dict())
    alone = one.score(test, found)
    np.testing.assert_allclose(alone.similarity, together.similarity, atol=1e-3)
    np.testing.assert_allclose(alone.matching, together.matching, atol=1e-3)
    longest = max(len(ids) for text in found.texts for ids in text)
    short = min(range(9), key=lambda text: max(len(ids) for ids in found.texts[text]))
    assert max(len(ids) for ids in found.texts[short]) < longest
    with torch.no_grad():
        ids = found.texts[short][0].astype(np.int64)
        image = trained.model.encode_image(test.images([int(found.rows[short])]))
        plain = trained.model.encode_text(torch.tensor(ids[None]), torch.ones(1, len(ids), dtype=torch.int64))
        padded_ids = torch.tensor([[*ids.tolist(), *[prepared.pad_id] * 4]])
        mask = torch.tensor([[1] * len(ids) + [0] * 4])
        padded = trained.model.encode_text(padded_ids, mask)
        place = torch.tensor([0])
        torch.testing.assert_close(
            trained.logits(image, plain, mask[:, : len(ids)], place), trained.logits(image, padded, mask, place)
        )
        torch.testing.assert_close(trained.embed_text(plain), trained.embed_text(padded))


def test_only_the_shortlist_is_looked_at_again(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    found = gather(test, 9, 4)
    looked = ~np.isnan(trained.score(test, found).matching)
    assert (looked.sum(1) >= 5).all() and (looked.sum(0) >= 5).all() and not looked.all()


def test_each_caption_by_itself_is_scored_on_the_way(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    found = gather(test, 9, 4)
    single = cut(test, found.rows, 1)
    each = trained.score(test, found).captions
    assert each is not None and each.shape == single.right.shape
    np.testing.assert_allclose(each, trained.score(test, single).similarity, atol=1e-4)
    assert trained.score(test, single).captions is None


def test_evaluation_encodes_each_picture_once(trained: Task, prepared: Prepared) -> None:
    test = prepared.split("test")
    with watching.rows(trained.model.image_encoder) as seen:
        trained.evaluate(test, seed=0, resamples=100)
    assert sum(seen) == 9


def test_what_is_saved_comes_back_and_scores_the_same(trained: Task, prepared: Prepared, tmp_path: Path) -> None:
    trained.save(tmp_path)
    again = Task.load(tmp_path, prepared)
    test = prepared.split("test")
    found = gather(test, 9, 4)
    assert np.array_equal(trained.score(test, found).similarity, again.score(test, found).similarity)
    assert again.decision == trained.decision
    assert set(again.decision) == {"image_to_text", "text_to_image", "rerank", "scale"}


def test_its_temperature_is_held_at_clip_s_bound_and_comes_back_from_it(prepared: Prepared) -> None:
    made, train = task(prepared), prepared.split("train")
    batch = made.collate(train, range(6), np.random.default_rng(0))
    engine = Engine(made, models.recipe(1), {}, None, torch.device("cpu"))
    with torch.no_grad():
        made.logit_scale.fill_(6.0)
    engine.step([batch], 0)
    assert float(made.scale.detach()) == pytest.approx(100, rel=1e-6)
    engine.step([batch], 1)
    assert float(made.scale.detach()) < 99.9


def test_its_similarities_are_float32_under_autocast(prepared: Prepared) -> None:
    made = task(prepared)
    batch = made.collate(prepared.split("train"), range(4), np.random.default_rng(0))
    texts = batch.texts["caption"]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        text = made.model.encode_text(texts.input_ids, texts.attention_mask)
        found = made.similarity(made.model.encode_image(batch.images), text, batch.targets["counted"].float())
    assert found.dtype == torch.float32


def test_it_starts_from_the_pre_trained_heads(prepared: Prepared) -> None:
    made = task(prepared)
    contrastive = {
        "image.weight": torch.full(made.image.weight.shape, 0.5),
        "text.weight": torch.full(made.text.weight.shape, 0.25),
        "logit_scale": torch.tensor(2.0),
    }
    made.warm_start(
        {"contrastive": contrastive, "matching": {"logit.weight": torch.ones(1, 32), "logit.bias": torch.ones(1)}}
    )
    assert torch.equal(made.image.weight, contrastive["image.weight"])
    assert torch.equal(made.text.weight, contrastive["text.weight"])
    assert float(made.scale.detach()) == pytest.approx(np.exp(2.0))
    assert torch.equal(made.logit.weight, torch.ones(1, 32))
    made = task(prepared, width=8)
    before = made.image.weight.clone()
    made.warm_start({"contrastive": contrastive})
    assert torch.equal(made.image.weight, before)


def test_a_caption_that_two_images_of_a_batch_share_is_no_negative(prepared: Prepared) -> None:
    made = task(prepared, captions_per_query=1)
    train = prepared.split("train")
    batch = made.collate(train, [0, 1, 0], np.random.default_rng(0))
    right, turned = made._right(batch)
    assert torch.equal(right, turned.T)
    assert right[0, 2] and right[2, 0] and right.diagonal().all() and not right[0, 1]
    losses = made(batch)
    assert all(torch.isfinite(value) for value in losses.values())


def test_no_caption_counts_twice_where_an_image_has_fewer_than_a_description_may_have(
    prepared: Prepared, tmp_path: Path
) -> None:
    single = Prepared(scenes.prepare(tmp_path, 12, captions=1))
    made, train = task(single), single.split("train")
    batch = made.collate(train, range(6), np.random.default_rng(0))
    assert len(batch.texts["caption"].input_ids) == 6, "each image's one caption, once"
    # An image with fewer than the others says some again, to be of their shape; what it says again changes nothing.
    made, train = task(prepared).eval(), prepared.split("train")
    batch = made.collate(train, range(6), np.random.default_rng(0))
    assert bool(batch.targets["counted"].all())
    batch.targets["counted"][:, 1:] = False
    found = []
    for word in (prepared.mask_id, 7):
        batch.texts["caption"].input_ids.unflatten(0, (6, 4))[:, 1:] = word
        torch.manual_seed(0)
        found.append({name: float(value.detach()) for name, value in made(batch).items()})
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    alone = task(prepared, captions_per_query=1).eval()
    alone.load_state_dict(made.state_dict())
    texts = batch.texts["caption"]
    texts.input_ids, texts.attention_mask = texts.input_ids[::4], texts.attention_mask[::4]
    texts.image_index, texts.per_image = texts.image_index[::4], 1
    batch.targets["counted"] = batch.targets["counted"][:, :1]
    torch.manual_seed(0)
    assert {name: float(value.detach()) for name, value in alone(batch).items()} == pytest.approx(found[0], rel=1e-4)


def test_a_batch_in_which_all_is_right_for_all_has_nothing_to_match_and_counts_in_no_mean(prepared: Prepared) -> None:
    made, train = task(prepared).eval(), prepared.split("train")
    alike, other = (made.collate(train, rows, np.random.default_rng(0)) for rows in ([0, 0], [0, 1]))
    losses = made(alike)
    assert set(losses) == {"contrastive_loss", "batch_recall", NOTHING} and losses[NOTHING].item() == 0
    (losses["contrastive_loss"] + losses[NOTHING]).backward()
    assert all(parameter.grad is not None for parameter in made.parameters() if parameter.requires_grad)
    assert made.logit.weight.grad is not None and not made.logit.weight.grad.any()
    torch.manual_seed(0)
    both = average(made, [alike, other], made.params.training)
    torch.manual_seed(0)
    alone = average(made, [other], made.params.training)
    assert both["matching_loss"] == alone["matching_loss"] and both["ranked_right"] == alone["ranked_right"]


def test_an_image_without_a_caption_gives_its_place_to_one_that_has_some(tmp_path: Path) -> None:
    some = Prepared(scenes.prepare(tmp_path, 10, bare=4))
    made, train = task(some), some.split("train")
    batch = made.collate(train, range(7), np.random.default_rng(0))
    assert batch.texts["caption"].per_image == 4 and len(batch.images) == 7
    assert torch.equal(batch.images[4:], train.images([4, 5, 6]))
    assert all(any(torch.equal(image, own) for own in train.images([4, 5, 6])) for image in batch.images[:4])


def test_data_without_captions_is_refused(tmp_path: Path) -> None:
    bare = Prepared(scenes.prepare(tmp_path, 10, captions=0))
    with pytest.raises(ValueError, match="no record of the split 'train' has an entry in `captions`"):
        task(bare).collate(bare.split("train"), [0], np.random.default_rng(0))


def test_a_split_of_one_captioned_image_is_refused_before_anything_is_trained(
    tmp_path: Path, prepared: Prepared
) -> None:
    few = Prepared(scenes.prepare(tmp_path, 7))
    assert len(few.split("validation")) == 1
    with pytest.raises(ValueError, match="split 'validation' has 1 images with captions of their own"):
        task(few).prepare(few.split("train"), seed=0)
    task(prepared).prepare(prepared.split("train"), seed=0)


class Chinese:
    """One record, described in a script that writes no spaces."""

    def values(self, column: str, row: int) -> list[dict[str, object]]:
        return [{"text": "一只红色的猫坐在蓝色的桌子上"}]

    def strings(self, column: str) -> list[None]:
        return [None]


def test_descriptions_without_spaces_are_as_long_as_their_words_are_many() -> None:
    found = Candidates(np.array([0]), [[np.array([2, 5, 3])]], [[0]], np.array([0]), np.array([[True]]))
    sliced = _sliced(Chinese(), found, np.array([1]), TEXT_TO_IMAGE)  # type: ignore[arg-type]
    assert sliced["text_to_image_r1_by_words"] == {"10 and more": {"value": 1.0, "size": 1}}
