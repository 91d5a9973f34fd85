"""Transfer: what is frozen stays, thin matrices merge into the same answers, and rates fall as stated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support import models, scenes
from vlp.data.loading import Plans, Prepared, loader
from vlp.models.weights import WeightsError
from vlp.params import parse
from vlp.tasks.captioning import Params as CaptioningParams
from vlp.tasks.captioning import Task as Captioning
from vlp.tasks.matching import Params, Task
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit
from vlp.training.optimizer import parameter_groups
from vlp.training.pretraining import Pretraining, PretrainParams
from vlp.training.transfer import Transfer, start

STEPS = 4
LORA = {"lora": {"rank": 2, "alpha": 4}}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 40))


def task(prepared: Prepared, **transfer: Any) -> Task:
    seed_everything(0)
    section = {
        "training": models.recipe(STEPS).model_dump(mode="json"),
        "captions_per_image": 2,
        "pair_weight": 1.0,
        "transfer": transfer,
    }
    return Task(parse(Params, section, "tasks.matching"), models.model(prepared), prepared)


def trained(made: Task, prepared: Prepared) -> Transfer:
    transfer = Transfer(made)
    train, recipe = prepared.split("train"), made.params.training
    fit(
        made,
        loader(train, made.collate, Plans(len(train), recipe.batch_size, STEPS, 0), seed=0),
        recipe,
        rates=transfer.rate,
    )
    return transfer


def state(made: Task) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in made.state_dict().items()}


def moved(made: Task, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in made.state_dict().items() if not torch.equal(value, before[name])}


def test_by_default_everything_is_trained_at_one_rate(prepared: Prepared) -> None:
    made = task(prepared)
    transfer = Transfer(made)
    groups = parameter_groups(made, 0.1, 1e-3, transfer.rate)
    assert [(group["weight_decay"], group["lr"]) for group in groups] == [(0.1, 1e-3), (0.0, 1e-3)]
    assert sum(len(group["params"]) for group in groups) == len(list(made.parameters()))  # type: ignore[arg-type, misc]
    before = state(made)
    trained(made, prepared)
    assert moved(made, before) >= {name for name, _ in made.named_parameters()}


def test_frozen_parts_keep_their_weights_and_their_running_means(prepared: Prepared) -> None:
    made = task(prepared, freeze=["image_encoder", "text_encoder"])
    before = state(made)
    trained(made, prepared).merge()
    changed = moved(made, before)
    assert {name.split(".")[1] for name in changed if name.startswith("model.")} == {"fusion"}
    assert any(name.startswith("logit") for name in changed)
    assert "model.image_encoder.resnet.bn1.running_mean" in before


def test_thin_matrices_merge_into_plain_weights_that_answer_the_same(prepared: Prepared) -> None:
    made = task(prepared, **LORA)
    before = state(made)
    transfer = trained(made, prepared)
    thin = {name for name, parameter in made.named_parameters() if parameter.requires_grad and "lora" in name}
    assert {name.rpartition(".lora_")[0].rpartition(".")[2] for name in thin} == {
        "query", "key", "value", "dense", "query_key_value", "key_value", "output",
    }  # fmt: skip
    test = prepared.split("test")
    pairs = made.pairs(test, seed=0)
    with_thin = made.score(test, pairs.row, pairs.true)
    transfer.merge()
    assert list(made.state_dict()) == list(before)
    np.testing.assert_allclose(made.score(test, pairs.row, pairs.true), with_thin, atol=1e-6)
    changed = {name for name in moved(made, before) if name.startswith("model.")}
    assert changed and all("attention" in name and name.endswith("weight") for name in changed)
    for name in changed:
        rank = torch.linalg.matrix_rank(made.state_dict()[name] - before[name], rtol=1e-3)
        assert int(rank) <= 2


def test_what_is_saved_after_merging_loads_as_any_task_and_knows_of_no_transfer(
    prepared: Prepared, tmp_path: Path
) -> None:
    made = task(prepared, layer_decay=0.5, **LORA)
    trained(made, prepared).merge()
    made.calibrate(prepared.split("validation"), seed=0)
    made.save(tmp_path)
    assert "transfer" not in (tmp_path / "task.json").read_text()
    again = Task.load(tmp_path, prepared)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in made.state_dict().items())


def test_each_layer_down_from_the_head_learns_more_slowly_by_the_factor(prepared: Prepared) -> None:
    made = task(prepared, layer_decay=0.5)
    rate = Transfer(made).rate
    assert rate("logit.weight") == 1.0
    assert rate("model.fusion.norm.weight") == rate("model.fusion.blocks.0.feed_forward.1.weight") == 0.5
    assert rate("model.fusion.image_embedding.rows") == 0.25
    assert rate("model.text_encoder.bert.encoder.layer.0.attention.self.query.weight") == 0.125
    assert rate("model.text_encoder.bert.embeddings.word_embeddings.weight") == 0.0625
    resnet = "model.image_encoder.resnet"
    assert rate(f"{resnet}.layer2.0.conv1.weight") == 0.125
    assert rate(f"{resnet}.layer1.0.conv1.weight") == 0.0625
    assert rate(f"{resnet}.conv1.weight") == 0.03125
    names = {id(parameter): name for name, parameter in made.named_parameters()}
    for group in parameter_groups(made, 0.1, 1e-3, rate):
        for parameter in group["params"]:  # type: ignore[attr-defined]
            assert group["lr"] == pytest.approx(1e-3 * rate(names[id(parameter)]))


def test_a_task_that_reads_an_encoder_directly_has_it_right_below_the_head(prepared: Prepared) -> None:
    section = {
        "training": models.recipe(1).model_dump(mode="json"),
        "captions_per_image": 1,
        "decoder": {"hidden": 32, "layers": 1, "heads": 2, "intermediate": 32},
        "transfer": {"layer_decay": 0.5},
    }
    made = Captioning(parse(CaptioningParams, section, "t"), models.model(prepared), prepared)
    rate = Transfer(made).rate
    assert rate("model.image_encoder.resnet.layer2.0.conv1.weight") == 0.5
    made.params = made.params.model_copy(update={"transfer": task(prepared, **LORA).params.transfer})
    with pytest.raises(ValueError, match=r"tasks\.captioning\.transfer\.lora: the task trains no attention"):
        Transfer(made)


def test_a_task_starts_from_pre_training_from_nothing_or_from_a_folder(prepared: Prepared, tmp_path: Path) -> None:
    seed_everything(1)
    model = models.model(prepared)
    model.save_pretrained(tmp_path / "pretrained")
    model.save_pretrained(tmp_path / "other")
    first = next(iter(model.state_dict()))
    for name, same in (("pretrained", True), ("scratch", False), (str(tmp_path / "other"), True)):
        params = task(prepared, start=name).params.transfer
        found, heads = start(params, tmp_path / "pretrained", prepared)
        assert torch.equal(found.state_dict()[first], model.state_dict()[first]) is same
        assert heads == {}
    params = task(prepared, start=str(tmp_path / "nowhere")).params.transfer
    with pytest.raises(OSError, match=r"nowhere: no such folder, given as transfer\.start"):
        start(params, tmp_path / "pretrained", prepared)
    with pytest.raises(OSError, match=r"empty: no config\.json: not a backbone"):
        (tmp_path / "empty").mkdir()
        start(task(prepared, start=str(tmp_path / "empty")).params.transfer, tmp_path / "pretrained", prepared)
    for content, kind in (('{"model_type": "bert"}', "'bert'"), ("[]", "None"), ("{", "None")):
        (tmp_path / "empty" / "config.json").write_text(content)
        with pytest.raises(ValueError, match=rf"empty/config\.json: model_type is {kind}, a backbone's 'vlp'"):
            start(task(prepared, start=str(tmp_path / "empty")).params.transfer, tmp_path / "pretrained", prepared)
    (tmp_path / "pretrained" / "objectives").mkdir()
    (tmp_path / "pretrained" / "objectives" / "matching.safetensors").write_bytes(b"cut")
    with pytest.raises(WeightsError, match=r"matching\.safetensors: not a readable weights file"):
        start(task(prepared).params.transfer, tmp_path / "pretrained", prepared)
    (tmp_path / "pretrained" / "objectives" / "matching.safetensors").unlink()
    prepared.image_size, size = 96, prepared.image_size
    try:
        with pytest.raises(ValueError, match=r"config\.json: image_size is 64, the prepared data's 96"):
            start(task(prepared).params.transfer, tmp_path / "pretrained", prepared)
    finally:
        prepared.image_size = size


def test_a_backbone_of_as_many_other_words_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    seed_everything(1)
    objectives = {"tagging": {"weight": 1.0, "min_count": 2}}
    phases = {"all": {"objectives": ["tagging"], "training": models.recipe(1).model_dump(mode="json")}}
    values = {"captions_per_image": 1, "objectives": objectives, "phases": phases}
    module = Pretraining(models.model(prepared), parse(PretrainParams, values, "pretrain"), prepared)
    (folder := tmp_path / "pretrained").mkdir()
    module.save(folder)
    params = task(prepared).params.transfer
    assert start(params, folder, prepared)[0].config.vocabulary == module.model.config.vocabulary
    shutil.copytree(prepared.folder, tmp_path / "other")
    file = tmp_path / "other" / "tokenizer" / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    words = content["model"]["vocab"]
    words["circle"], words["square"] = words["square"], words["circle"]
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json: vocabulary is [0-9a-f]{64}, the prepared data's"):
        start(params, folder, Prepared(tmp_path / "other"))


def test_a_name_on_the_hub_is_asked_for_only_where_a_parameter_names_one(prepared: Prepared, tmp_path: Path) -> None:
    params = task(prepared, start="hub:nobody/nothing").params.transfer
    with pytest.raises(OSError, match=r"offline|cached"):  # tests have no network
        start(params, tmp_path, prepared)
