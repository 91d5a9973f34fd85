"""Pre-training on a few real scenes: what each objective sees, that it learns, and that it cannot be fooled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support import bundles, models, scenes
from vlp.data.loading import Examples, Plans, Prepared, loader, pad
from vlp.data.questions import questions
from vlp.models.contrastive import MAX_LOGIT_SCALE, same_caption
from vlp.models.modeling import VLPModel
from vlp.models.nothing import NOTHING
from vlp.objectives.base import Drawn, Step
from vlp.params import ParamsError, parse
from vlp.plugins import UnknownPluginError
from vlp.records import Batch
from vlp.tasks.base import pretrained_heads
from vlp.training import held_out
from vlp.training.determinism import seed_everything
from vlp.training.engine import Engine
from vlp.training.loop import average, fit
from vlp.training.pretraining import Pretraining, PretrainParams, pretrain

OBJECTIVES: dict[str, dict[str, Any]] = {
    "matching": {"weight": 1.0, "in_batch_negatives": 1, "pair_weight": 1.0, "word_weight": 1.0},
    "contrastive": {"weight": 0.5, "width": 16, "temperature": 0.07},
    "masked_text": {"weight": 1.0, "mask_share": 0.3, "mask_edits": 0.5, "captions_per_image": 2},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 40))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The same scenes without minimal edits, as most collected data is."""
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("plain"), 40, negatives=False))


def params(steps: int = 30, objectives: dict[str, dict[str, Any]] | None = None) -> PretrainParams:
    objectives = objectives or OBJECTIVES
    phases = {"all": {"objectives": list(objectives), "training": models.recipe(steps).model_dump(mode="json")}}
    values = {"captions_per_image": 3, "objectives": objectives, "phases": phases}
    return parse(PretrainParams, values, "params.yaml: pretrain")


def pretraining(prepared: Prepared, **objectives: dict[str, Any]) -> Pretraining:
    seed_everything(0)
    return Pretraining(models.model(prepared), params(objectives=objectives or None), prepared)


def batch_of(module: Pretraining, prepared: Prepared, rows: int = 6) -> Batch:
    return module.collate(prepared.split("train"), range(rows), np.random.default_rng(0))


def test_every_image_brings_its_captions_their_edits_and_masked_copies(prepared: Prepared) -> None:
    batch = batch_of(pretraining(prepared), prepared)
    assert {name: (len(texts.input_ids), texts.per_image) for name, texts in batch.texts.items()} == {
        "positive": (18, 3),
        "negative": (18, 3),
        "masked": (12, 2),
    }
    assert bool(batch.targets["has_negative"].all())


def test_texts_that_pass_together_are_what_they_are_alone(prepared: Prepared, plain: Prepared) -> None:
    for data in (prepared, plain):
        module = pretraining(data).eval()
        batch = batch_of(module, data)
        if data is plain:  # an image with fewer captions than the others
            batch.texts["positive"] = pad(list(_unpadded(batch.texts["positive"]))[:-1], [*range(6)] * 3, 0)
            batch.texts["positive"].image_index = torch.arange(17) // 3
            batch.texts["positive"].per_image = 0
            batch.targets = {
                name: value if name == "image_keys" else value[:-1] for name, value in batch.targets.items()
            }
        together = Step(module.model, batch)
        for name, texts in batch.texts.items():
            text = module.model.encode_text(texts.input_ids, texts.attention_mask)
            fused = module.model.fuse(text, texts.attention_mask, together.image.index(texts.image_index))
            assert torch.allclose(together.text(name).pooled, text.pooled, atol=1e-5)
            assert torch.allclose(together.fused(name).pooled, fused.pooled, atol=1e-5)
            assert together.fused(name).tokens.shape == fused.tokens.shape


def test_all_losses_fall_on_scenes(prepared: Prepared) -> None:
    module = pretraining(prepared)
    train = prepared.split("train")
    history = fit(
        module,
        loader(train, module.collate, Plans(len(train), 8, 30, 0), seed=0),
        params().phases["all"].training,
        module.weights,
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
    key, known = batch.targets["caption_key"], batch.targets["image_keys"]
    known[5, 0] = key[0]  # a caption drawn for image 0, also one of image 5, for which it was not drawn
    same = Step(module.model, batch).same_caption
    assert same[0].tolist() == [True, False, False, False, False, True]
    for caption, row in enumerate(same.tolist()):
        assert row == [int(key[caption]) in known[image].tolist() for image in range(6)]
    assert bool(same[torch.arange(18), batch.texts["positive"].image_index].all())


def test_all_captions_of_an_image_are_known_by_their_words_drawn_or_not(tmp_path: Path) -> None:
    bundles.write_prepared(
        tmp_path, records=12, edits=False
    )  # pictures of two colours: half of them share all they have
    shared = Prepared(tmp_path)
    module, train = pretraining(shared, contrastive=OBJECTIVES["contrastive"]), shared.split("train")
    module.captions_per_image = 1
    rows = range(len(train))
    batch = module.collate(train, rows, np.random.default_rng(0))
    own = [{ids.tobytes() for ids in train.ids("captions", "ids", row) if ids is not None} for row in rows]
    texts = [ids.numpy().astype(np.int32).tobytes() for ids in _unpadded(batch.texts["positive"])]
    true = torch.tensor([[text in captions for captions in own] for text in texts])
    assert torch.equal(same_caption(batch.targets["caption_key"], batch.targets["image_keys"]), true)
    assert int(true.sum()) == 12 * 6 > sum(text == drawn for text in texts for drawn in texts)


def test_a_shared_caption_is_never_drawn_as_a_negative(plain: Prepared) -> None:
    module = pretraining(
        plain, matching={"weight": 1.0, "in_batch_negatives": 2, "pair_weight": 0.0, "word_weight": 0.0}
    )
    batch = batch_of(module, plain)
    batch.targets["caption_key"][:] = batch.targets["image_keys"][:] = (
        7  # every image has every caption: nothing is left to be a negative
    )
    scalars = module(batch)
    assert float(scalars["itm_base_rate_entropy"]) == 0.0
    batch = batch_of(module, plain)
    assert float(module(batch)["itm_base_rate_entropy"]) == pytest.approx(0.6365, abs=1e-3)  # 1 true : 2 false


def test_where_no_caption_has_an_edit_no_head_judges_words(prepared: Prepared, plain: Prepared) -> None:
    assert pretraining(prepared).heads["matching"].word is not None
    module = pretraining(plain)
    assert module.heads["matching"].word is None
    assert "word_loss" not in module(batch_of(module, plain))


def test_a_batch_without_edits_asks_nothing_of_the_head_for_words(prepared: Prepared) -> None:
    module = pretraining(prepared)
    batch = batch_of(module, prepared)
    del batch.texts["negative"]
    batch.targets["has_negative"][:] = False
    scalars = module(batch)
    sum(value for name, value in scalars.items() if name.endswith("_loss")).backward()  # type: ignore[union-attr]
    head = module.heads["matching"].word
    assert "word_loss" not in scalars and float(scalars[NOTHING].detach()) == 0.0
    assert head.weight.grad is not None and not bool(head.weight.grad.any())


@pytest.mark.parametrize("names", [["contrastive"], ["matching"], ["masked_text"], [*OBJECTIVES, "answering"]])
def test_a_batch_without_a_caption_teaches_nothing_and_passes_all_that_is_trained(
    tmp_path: Path, names: list[str]
) -> None:
    bare = Prepared(scenes.prepare(tmp_path, 20, bare=2))
    answering = {"weight": 1.0, "questions_per_image": 1, "answers": 20}
    module = begun(bare, {**OBJECTIVES, "answering": answering}, names)
    train = bare.split("train")
    if "answering" in names:  # nor is anything asked that can be answered
        module.heads["answering"]._asked["train"] = questions(train, ())  # type: ignore[attr-defined]
    batch = module.collate(train, [0, 1], np.random.default_rng(0))
    assert set(batch.texts) == {"question" if "answering" in names else "nothing"}
    scalars = module(batch)
    assert scalars.keys() == {NOTHING} and float(scalars[NOTHING].detach()) == 0.0
    scalars[NOTHING].backward()
    # So does every process of several, whichever has captions.
    trained = [each.grad for each in module.parameters() if each.requires_grad]
    assert trained and all(grad is not None and not bool(grad.any()) for grad in trained)


def test_contrastive_loss_is_zero_at_best_and_log_n_without_a_clue(prepared: Prepared) -> None:
    module = pretraining(prepared, contrastive=OBJECTIVES["contrastive"])
    head = module.objectives["contrastive"]
    with torch.no_grad():
        head.logit_scale.fill_(0.0)  # type: ignore[union-attr]
        head.text.weight.zero_()  # type: ignore[union-attr]
        head.text.weight[0].fill_(1e-9)  # type: ignore[union-attr]
        batch = batch_of(module, prepared)
        batch.targets["caption_key"] = torch.arange(18)
        batch.targets["image_keys"] = torch.arange(18).view(6, 3)
        blind = float(module(batch)["itc_loss"])
    texts, images = np.log(6), np.log(18)  # one image of six; three captions of eighteen, spread evenly
    assert blind == pytest.approx((texts + images) / 2, abs=0.6)


def test_a_temperature_that_was_at_clip_s_bound_comes_back_from_it(prepared: Prepared) -> None:
    module = pretraining(prepared, contrastive=OBJECTIVES["contrastive"])
    module.begin(params(objectives={"contrastive": OBJECTIVES["contrastive"]}).phases["all"])
    scale = module.heads["contrastive"].logit_scale
    batch = batch_of(module, prepared)
    engine = Engine(module, models.recipe(1), module.weights, None, torch.device("cpu"))
    with torch.no_grad():
        scale.fill_(6.0)  # as warm-started weights, or a step beyond the bound
    engine.step([batch], 0)
    assert float(scale.detach()) == pytest.approx(MAX_LOGIT_SCALE)
    for number in range(1, 4):  # random weights are wrong at a hundred times a cosine: colder is worse
        engine.step([batch], number)
    assert float(scale.detach()) < MAX_LOGIT_SCALE - 0.001


def test_a_temperature_beyond_clip_s_bound_is_refused(prepared: Prepared) -> None:
    with pytest.raises(ParamsError, match=r"temperature: .*greater than or equal to 0\.01"):
        pretraining(prepared, contrastive={**OBJECTIVES["contrastive"], "temperature": 0.005})


def test_similarities_are_float32_under_autocast(prepared: Prepared) -> None:
    module = pretraining(prepared, contrastive=OBJECTIVES["contrastive"])
    with torch.autocast("cpu", torch.bfloat16):
        step = Step(module.model, batch_of(module, prepared))
        module.heads["contrastive"](step)
    assert step.similarity is not None and step.similarity.dtype == torch.float32


def drawn(prepared: Prepared, ids: list[int], edit: list[int] | None = None) -> Drawn:
    return Drawn(
        positives=[np.array(ids)], negatives=[None if edit is None else np.array(edit)], owner=[0],
        pad_id=prepared.pad_id, mask_id=prepared.mask_id, special=prepared.special_ids,
        vocabulary_size=prepared.vocabulary_size,
    )  # fmt: skip


def test_no_special_token_is_ever_hidden(prepared: Prepared) -> None:
    first, last, unknown = (prepared.summary[f"{name}_id"] for name in ("cls", "sep", "unk"))
    some, other = (
        next(i for i in range(prepared.vocabulary_size) if i not in prepared.special_ids) + n for n in (0, 1)
    )
    only = {**OBJECTIVES["masked_text"], "mask_edits": 1.0}
    head = pretraining(prepared, masked_text=only).heads["masked_text"]

    def hidden(own: Drawn) -> set[int]:
        made = (head.collate(None, [0], own, np.random.default_rng(seed)).texts["masked"] for seed in range(20))
        return {word for texts in made for word in texts.targets[texts.targets != -100].tolist()}

    assert hidden(drawn(prepared, [first, unknown, unknown, last])) == set()
    # An edit that puts a known word in the place of an unknown one; one of a known word is what is hidden.
    assert hidden(drawn(prepared, [first, some, unknown, last], [first, some, other, last])) == {some}
    assert hidden(drawn(prepared, [first, some, other, last], [first, some, some, last])) == {other}


def test_a_batch_without_a_word_to_hide_teaches_nothing(prepared: Prepared) -> None:
    module = pretraining(prepared, masked_text=OBJECTIVES["masked_text"])
    batch = batch_of(module, prepared)
    whole = batch_of(module, prepared)
    batch.texts["masked"].targets.fill_(-100)
    found = module(batch)
    assert found.keys() == {NOTHING} and found[NOTHING].item() == 0
    found[NOTHING].backward()
    assert all(each.grad is not None and not each.grad.any() for each in module.heads["masked_text"].parameters())
    both, alone = (average(module, batches, models.recipe(1)) for batches in ([batch, whole], [whole]))
    assert both["mlm_loss"] == alone["mlm_loss"]


def test_several_objectives_may_have_nothing_to_learn_from_a_batch(prepared: Prepared) -> None:
    module = pretraining(prepared)
    batch = batch_of(module, prepared)
    batch.texts["masked"].targets.fill_(-100)
    del batch.texts["negative"]
    batch.targets["has_negative"][:] = False
    module(batch)[NOTHING].backward()
    for head in (module.heads["matching"].word, module.heads["masked_text"]):
        assert all(each.grad is not None for each in head.parameters())


def test_masking_needs_fused_tokens_and_says_so(prepared: Prepared) -> None:
    seed_everything(0)
    only = {"masked_text": OBJECTIVES["masked_text"]}
    module = Pretraining(models.model(prepared, models.CONCAT_MLP), params(objectives=only), prepared)
    with pytest.raises(ValueError, match="fusion 'concat_mlp' joins pooled features"):
        module(batch_of(module, prepared))


def test_a_phase_without_captions_trains_the_image_encoder_alone(prepared: Prepared) -> None:
    seed_everything(0)
    both = {"tagging": {"weight": 1.0, "min_count": 2}, "matching": OBJECTIVES["matching"]}
    recipe = models.recipe(40, schedule="constant").model_dump(mode="json")
    phases = {name: {"objectives": [name], "training": recipe} for name in both}
    section = parse(
        PretrainParams, {"captions_per_image": 2, "objectives": both, "phases": phases}, "params.yaml: pretrain"
    )
    module = Pretraining(models.model(prepared), section, prepared)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    curve, held_out, speed = pretrain(module, section, prepared, seed=0)
    first, last = (row for row in curve if row["phase"] == "tagging" and row["step"] in (5, 40))
    assert last["tag_loss"] < first["tag_loss"] - 0.02
    assert {row["phase"] for row in curve} == set(both) and curve[-1]["step"] == 80
    assert "itm_loss" in held_out and "tag_loss" not in held_out
    assert len(speed) == 2
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("objectives.tagging") for name in changed)
    assert any(name.startswith("model.text_encoder") for name in changed)

    module.begin(section.phases["tagging"])
    batch = batch_of(module, prepared)
    assert not batch.texts and set(batch.targets) == {"tags"}
    trained = {name.split(".")[1] for name, value in module.named_parameters() if value.requires_grad}
    assert trained == {"image_encoder", "tagging"}


def test_phases_and_objectives_must_name_each_other(prepared: Prepared) -> None:
    recipe = models.recipe(1).model_dump(mode="json")
    for objectives, phase, message in (
        (OBJECTIVES, ["matching"], "no phase trains contrastive, masked_text"),
        ({"matching": OBJECTIVES["matching"]}, ["matching", "tagging"], "phases name tagging, which objectives"),
    ):
        values = {
            "captions_per_image": 1,
            "objectives": objectives,
            "phases": {"all": {"objectives": phase, "training": recipe}},
        }
        with pytest.raises(ParamsError, match=message):
            parse(PretrainParams, values, "params.yaml: pretrain")


def test_tagging_without_labels_says_what_to_do(prepared: Prepared) -> None:
    with pytest.raises(ValueError, match=r"tagging: .* no label that 10000 records share; remove the objective"):
        pretraining(prepared, tagging={"weight": 1.0, "min_count": 10000})


def test_an_unknown_objective_or_key_is_one_clear_line(prepared: Prepared) -> None:
    with pytest.raises(UnknownPluginError, match="did you mean 'matching'"):
        pretraining(prepared, maching={"weight": 1.0})
    with pytest.raises(
        ParamsError, match=r"pretrain\.objectives\.contrastive: widht: unknown key; did you mean 'width'"
    ):
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


@pytest.mark.parametrize("names", [["contrastive"], ["tagging", "contrastive"]])
def test_a_phase_that_fuses_nothing_leaves_the_fusion_block_alone(prepared: Prepared, names: list[str]) -> None:
    module = begun(prepared, {**OBJECTIVES, "tagging": {"weight": 1.0, "min_count": 1}}, names)
    before = {name: value.clone() for name, value in module.model.fusion.state_dict().items()}
    train = prepared.split("train")
    fit(module, loader(train, module.collate, Plans(len(train), 8, 2, 1), seed=1), models.recipe(2), module.weights)
    assert all(torch.equal(value, before[name]) for name, value in module.model.fusion.state_dict().items())


def test_norms_of_a_fusion_block_that_nothing_trains_do_not_follow_the_batches(prepared: Prepared) -> None:
    seed_everything(0)
    own = {"contrastive": OBJECTIVES["contrastive"]}
    film = {"name": "film", "hidden": 16, "layers": 1, "dropout": 0.0}
    module = Pretraining(models.model(prepared, film), params(2, own), prepared)
    phase = params(2, own).phases["all"]
    module.begin(phase)
    before = {name: value.clone() for name, value in module.model.fusion.state_dict().items()}
    train = prepared.split("train")
    fit(module, loader(train, module.collate, Plans(len(train), 8, 2, 1), seed=1), phase.training, module.weights)
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(value, before[name]) for name, value in module.model.fusion.state_dict().items())


def test_an_objective_s_weight_holds_for_all_its_losses(prepared: Prepared) -> None:
    module = begun(prepared, {"matching": {**OBJECTIVES["matching"], "weight": 0.25}}, ["matching"])
    assert module.weights == {"itm_loss": 0.25, "pair_loss": 0.25, "word_loss": 0.25}


def test_texts_longer_than_the_encoder_takes_are_refused_before_anything_is_trained(prepared: Prepared) -> None:
    model = models.model(prepared)
    model.text_encoder.max_positions = prepared.summary["max_tokens"] - 1
    with pytest.raises(ValueError, match=r"text.max_tokens is \d+, more than model.text.max_positions: \d+"):
        Pretraining(model, section(OBJECTIVES, [*OBJECTIVES]), prepared)


def section(objectives: dict[str, Any], names: list[str]) -> PretrainParams:
    phase = {"objectives": names, "training": models.recipe(2).model_dump()}
    used = {name: objectives[name] for name in names}
    return parse(PretrainParams, {"captions_per_image": 2, "objectives": used, "phases": {"x": phase}}, "pretrain")


def begun(prepared: Prepared, objectives: dict[str, Any], names: list[str]) -> Pretraining:
    params = section(objectives, names)
    module = Pretraining(models.model(prepared), params, prepared)
    module.begin(params.phases["x"])
    return module


def test_held_out_pictures_are_dealt_from_all_over_the_split_whatever_the_recipe(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "BATCH_SIZE", 3)
    names, seen = ["contrastive"], []
    module, collate = begun(prepared, OBJECTIVES, names), Pretraining.collate

    def noting(self: Pretraining, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        seen.append((examples.split, tuple(rows)))
        return collate(self, examples, rows, rng)

    monkeypatch.setattr(Pretraining, "collate", noting)
    pretrain(module, section(OBJECTIVES, names), prepared, seed=0)
    assert len(prepared.split("validation")) == 6 < models.recipe(2).batch_size
    assert [rows for split, rows in seen if split == "validation"] == [(0, 2, 4), (1, 3, 5)]


def test_a_phase_of_one_image_a_pass_is_refused_before_any_is_trained(prepared: Prepared) -> None:
    own = {"tagging": {"weight": 1.0, "min_count": 1}, "contrastive": OBJECTIVES["contrastive"]}
    recipes = {"tagging": models.recipe(1, 1), "contrastive": models.recipe(1, 2, accumulate=2)}
    phases = {f"{name} phase": {"objectives": [name], "training": each.model_dump()} for name, each in recipes.items()}
    params = parse(PretrainParams, {"captions_per_image": 1, "objectives": own, "phases": phases}, "pretrain")
    module = Pretraining(models.model(prepared), params, prepared)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=r"pretrain\.phases\.contrastive phase\.training: .* leaves it 1"):
        pretrain(module, params, prepared, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
