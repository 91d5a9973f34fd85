"""Answering among the objectives: it is learnt, and what it learns is what the task starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from support import models, scenes
from vlp.data.loading import Plans, Prepared, loader
from vlp.models.nothing import NOTHING
from vlp.params import parse
from vlp.tasks.base import pretrained_heads
from vlp.tasks.vqa import Params, Task
from vlp.training.determinism import seed_everything
from vlp.training.engine import Engine
from vlp.training.loop import average, fit
from vlp.training.pretraining import Pretraining, PretrainParams


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 60))


OTHERS = {
    "contrastive": {"weight": 1.0, "width": 16, "temperature": 0.07},
    "tagging": {"weight": 1.0, "min_count": 1},
}


def pretraining(prepared: Prepared, fusion: dict[str, object] | None = None, beside: Sequence[str] = ()) -> Pretraining:
    seed_everything(0)
    return Pretraining(models.model(prepared, fusion), section(beside), prepared)


def section(beside: Sequence[str] = ()) -> PretrainParams:
    chosen = {"answering": {"weight": 1.0, "questions_per_image": 3, "answers": 30}}
    chosen |= {name: OTHERS[name] for name in beside}
    phases = {"all": {"objectives": list(chosen), "training": models.recipe(60).model_dump(mode="json")}}
    return parse(PretrainParams, {"captions_per_image": 2, "objectives": chosen, "phases": phases}, "t")


def test_it_asks_some_questions_of_each_image_with_their_ends_hidden(prepared: Prepared) -> None:
    module = pretraining(prepared)
    asked = module.collate(prepared.split("train"), range(4), np.random.default_rng(0)).texts["question"]
    assert asked.per_image == 3 and asked.input_ids.shape[0] == 12 == len(asked.targets)
    last = asked.attention_mask.sum(1) - 1
    assert (asked.input_ids.gather(1, last[:, None]) == prepared.mask_id).all()


def test_the_task_starts_with_the_logits_that_it_ended_with(prepared: Prepared, tmp_path: Path) -> None:
    module, train = pretraining(prepared), prepared.split("train")
    rows = fit(module, loader(train, module.collate, Plans(len(train), 8, 60, 0), seed=0), models.recipe(60)).rows
    assert rows[-1]["answer_loss"] < rows[0]["answer_loss"] - 0.5
    module.eval().save(tmp_path / "model")
    section = {"training": models.recipe(1).model_dump(mode="json"), "questions_per_image": 3, "answers": 30}
    task = Task(parse(Params, section, "t"), module.model, prepared)
    task.warm_start(pretrained_heads(tmp_path / "model"))
    task.eval()
    batch = module.collate(train, range(6), np.random.default_rng(0))
    with torch.no_grad():
        step = module(batch)["answer_accuracy"]
        found = task(task.collate(train, range(6), np.random.default_rng(0)))["accuracy"]
    assert found == step


def test_a_fusion_without_fused_tokens_answers_at_the_pooled_state(prepared: Prepared) -> None:
    module = pretraining(prepared, models.CONCAT_MLP)
    found = module(module.collate(prepared.split("train"), range(4), np.random.default_rng(0)))
    assert torch.isfinite(found["answer_loss"])


@pytest.mark.parametrize("beside", [[], ["contrastive"], ["tagging"]], ids=["alone", "contrastive", "tagging"])
def test_images_without_a_question_teach_nothing_and_have_no_part_in_the_means(
    prepared: Prepared, beside: list[str]
) -> None:
    module = pretraining(prepared, beside=beside)
    module.begin(section(beside).phases["all"])
    train, answering = prepared.split("train"), module.heads["answering"]
    asked = module.collate(train, range(4), np.random.default_rng(0))
    known = answering._asked[train.split]
    answering._asked[train.split] = replace(known, code=np.full_like(known.code, -1))
    bare = module.collate(train, range(4), np.random.default_rng(0))
    assert bare.texts["question"].input_ids.tolist() == [[prepared.mask_id]]
    engine = Engine(module, models.recipe(1), module.weights, None, torch.device("cpu"))
    (found,) = engine.step([bare], 0)  # the first step looks for parameters without a gradient
    assert found[NOTHING].item() == 0 and "answer_loss" not in found
    both, alone = (average(module, batches, models.recipe(1)) for batches in ([asked, bare], [asked]))
    assert both["answer_loss"] == alone["answer_loss"] and NOTHING not in both


def test_data_without_questions_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pretrain\.objectives\.answering: .*0 answers"):
        pretraining(Prepared(scenes.prepare(tmp_path, 20, questions=False)))
