"""Generation on a few real scenes: it learns, it reads, and a seed is a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support import models, scenes
from vlp.data.loading import Plans, Prepared, loader
from vlp.params import parse
from vlp.records import Batch, Texts
from vlp.tasks.generation import Params, Task, report
from vlp.tasks.generation.report import prompts
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit

SECTION: dict[str, Any] = {
    "book": {"sprites": 24, "grounds": 4, "things": 3, "size": 12, "pictures": 40, "rounds": 4},
    "width": 32,
    "layers": 1,
    "heads": 2,
    "captions_per_image": 2,
    "orders": 6,
    "described": 0.4,
    "wordless": 0.2,
    "guidance": [1.0, 3.0],
    "candidates": 2,
    "prompts": 5,
    "calibration_prompts": 2,
    "evaluation_batch_size": 4,
}
HEAD = {"matching": {"logit.weight": torch.linspace(-1, 1, 32)[None], "logit.bias": torch.zeros(1)}}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 40))


def task(prepared: Prepared, steps: int = 1, **changes: object) -> Task:
    seed_everything(0)
    section = {"training": models.recipe(steps).model_dump(mode="json"), **SECTION, **changes}
    return Task(parse(Params, section, "tasks.generation"), models.model(prepared), prepared)


@pytest.fixture(scope="module")
def trained(prepared: Prepared) -> Task:
    made = task(prepared, 60)
    made.warm_start(HEAD)
    backbone = {name: value.clone() for name, value in made.model.state_dict().items()}
    train = prepared.split("train")
    made.prepare(train, seed=0)
    history = fit(made, loader(train, made.collate, Plans(len(train), 8, 60, 0), seed=0), made.params.training)
    assert history.rows[-1]["word_loss"] < 0.9 * history.rows[0]["word_loss"]
    assert all(torch.equal(value, backbone[name]) for name, value in made.model.state_dict().items()), "it is frozen"
    made.calibrate(prepared.split("validation"), seed=0)
    return made


def told(task: Task, prepared: Prepared, numbers: list[int], seeds: list[int], guidance: float = 2.0) -> np.ndarray:
    """Words for some test prompts."""
    asked = prompts(prepared.split("test"), 6)
    return task.eval().tell([asked[n].ids for n in numbers], seeds, candidates=1, guidance=guidance)


def test_its_metrics_have_the_names_of_the_contract(trained: Task, prepared: Prepared) -> None:
    found = trained.evaluate(prepared.split("test"), seed=0, resamples=100)
    metrics = found.metrics
    assert {"faithful_share", "matching_score", "images", "parser_accuracy"} <= set(metrics)
    for name in ("faithful_share", "matching_score"):
        for way in ("", "first_candidate_", "true_picture_", "random_picture_"):
            low, high = metrics[f"{way}{name}_ci95"]
            assert low <= metrics[f"{way}{name}"] <= high
    for cut in ("kind", "objects", "words"):
        assert sum(each["size"] for each in metrics[f"faithful_share_by_{cut}"].values()) == 5
    assert metrics["images"] == 5 == len(found.predictions)
    assert metrics["true_picture_faithful_share"] >= 0.8, "the parser sees what a caption says of its own picture"
    assert sum(row["faithful"] for row in found.predictions) == pytest.approx(5 * metrics["faithful_share"])
    assert metrics["matching_score"] >= metrics["first_candidate_matching_score"]
    assert metrics["guidance"] in (1.0, 3.0)
    assert found.pictures["samples"].dtype == np.uint8


def test_data_that_is_no_scenes_has_no_faithful_share(tmp_path: Path) -> None:
    plain = Prepared(scenes.prepare(tmp_path, 20, annotated=False))
    made = task(plain)
    made.warm_start(HEAD)
    made.prepare(plain.split("train"), seed=0)
    made.decision = {"guidance": 1.0, "candidates": 1}
    found = made.evaluate(plain.split("test"), seed=0, resamples=100)
    assert "faithful_share" not in found.metrics and "matching_score" in found.metrics


def test_the_candidate_that_the_matching_head_prefers_is_kept(trained: Task, prepared: Prepared) -> None:
    asked = prompts(prepared.split("test"), 3)
    drawn = trained.draw([p.ids for p in asked], [0, 1, 2], candidates=3, guidance=1.0)
    assert drawn.pictures.shape == (3, 3, 64, 64, 3) and drawn.logits.shape == (3, 3)
    for number, chosen in enumerate(drawn.logits.argmax(1)):
        assert np.array_equal(drawn.kept[number], drawn.pictures[number, chosen])


def test_a_seed_is_a_picture_and_a_text_another(trained: Task, prepared: Prepared) -> None:
    first = told(trained, prepared, [0], [7])
    assert np.array_equal(first, told(trained, prepared, [0], [7]))
    assert not np.array_equal(first, told(trained, prepared, [0], [8]))
    assert not np.array_equal(first, told(trained, prepared, [3], [7], guidance=20.0))


def test_batch_size_and_padding_do_not_change_a_picture(trained: Task, prepared: Prepared) -> None:
    together = told(trained, prepared, [0, 1, 2], [5, 6, 7])
    for number in range(3):
        assert np.array_equal(told(trained, prepared, [number], [5 + number])[0], together[number])


def test_without_guidance_towards_the_text_the_text_is_not_read(trained: Task, prepared: Prepared) -> None:
    one, two = (told(trained, prepared, [number], [7], guidance=0.0) for number in (0, 3))
    assert np.array_equal(one, two)


def test_what_is_saved_comes_back_and_draws_the_same(trained: Task, prepared: Prepared, tmp_path: Path) -> None:
    trained.save(tmp_path)
    again = Task.load(tmp_path, prepared)
    assert again.decision == trained.decision
    assert np.array_equal(told(trained, prepared, [1], [3]), told(again, prepared, [1], [3]))


def test_candidates_need_a_head_to_choose_with(prepared: Prepared) -> None:
    with pytest.raises(ValueError, match=r"tasks\.generation\.candidates: pre-training had no `matching`"):
        task(prepared).warm_start({})
    with pytest.raises(ValueError, match=r"tasks\.generation\.guidance: .* no `matching` .* or name one strength"):
        task(prepared, candidates=1).warm_start({})
    task(prepared, candidates=1, guidance=[2.0]).warm_start({})


@pytest.mark.parametrize("annotated", [True, False])
def test_what_no_head_judges_has_no_matching_score(tmp_path: Path, annotated: bool) -> None:
    data = Prepared(scenes.prepare(tmp_path, 20, annotated=annotated))
    made = task(data, candidates=1, guidance=[2.0])
    made.warm_start({})
    made.prepare(data.split("train"), seed=0)
    made.calibrate(data.split("validation"), seed=0)
    (tmp_path / "task").mkdir()
    made.save(tmp_path / "task")
    found = Task.load(tmp_path / "task", data).evaluate(data.split("test"), seed=0, resamples=100)
    assert found.metrics["guidance"] == 2.0 and found.metrics["images"] == len(found.predictions)
    assert not [name for name in (*found.metrics, *found.predictions[0]) if "matching_score" in name]
    assert ("faithful_share" in found.metrics) == annotated


class Bare:
    """No region in any row."""

    def masks(self, row: int) -> list[np.ndarray]:
        return []


def test_where_nothing_is_outlined_a_picture_is_one_thing(prepared: Prepared) -> None:
    made = task(prepared)
    made.has_regions = False
    found, expressions = made._regions(Bare(), [0, 1])  # type: ignore[arg-type]
    assert found.shape == (2, 1, 64, 64) and bool(found.all())
    assert expressions == [[None], [None]]


def test_a_picture_without_outlines_among_others_teaches_nothing(prepared: Prepared) -> None:
    made, train = task(prepared), prepared.split("train")
    rows = list(range(len(train)))
    batch = made.collate(train, rows, np.random.default_rng(0))
    outlined = {row for row in rows if train.masks(row)}
    assert set(batch.texts["caption"].image_index.tolist()) == outlined


def test_a_picture_is_told_in_the_order_that_is_likeliest_by_now(trained: Task, prepared: Prepared) -> None:
    train = prepared.split("train")
    row = max(range(len(train)), key=lambda row: len(train.masks(row)))
    trained.eval()
    batch = trained.collate(train, [row], np.random.default_rng(0))
    texts = batch.texts["caption"]
    first = Texts(
        input_ids=texts.input_ids[:1], attention_mask=texts.attention_mask[:1], image_index=torch.zeros(1).long()
    )
    every = batch.targets["orders"][:1]

    def cost(some: torch.Tensor) -> float:
        targets = {**batch.targets, "orders": some}
        with torch.no_grad():
            return float(trained(Batch(images=batch.images, texts={"caption": first}, targets=targets))["word_loss"])

    costs = [cost(every[:, [number]]) for number in range(every.shape[1])]
    best = cost(every)
    assert len({round(cost, 4) for cost in costs}) > 1
    assert best == pytest.approx(min(costs), rel=1e-4)


def test_expressions_in_a_row_say_what_is_told_first(prepared: Prepared) -> None:
    made, train = task(prepared, described=0.99, wordless=0.01), prepared.split("train")
    row = max(range(len(train)), key=lambda row: len(train.masks(row)))
    expressions = [tuple(ids[1:-1].tolist()) for ids in train.ids("regions", "ids", row) if ids is not None]
    batch = made.collate(train, [row] * 8, np.random.default_rng(0))
    texts, tried = batch.texts["caption"], batch.targets["orders"]
    seen = 0
    for ids, mask, order in zip(texts.input_ids, texts.attention_mask, tried, strict=True):
        words = tuple(ids[mask.bool()][1:-1].tolist())
        told = [expressions[number] for number in order[0].tolist() if number < len(expressions)]
        said = [sum(told[:count], ()) for count in (1, 2, 3)]
        if words in said:
            seen += 1
            assert bool((order == order[0]).all()), "told in that order alone"
    assert seen >= 12


def test_a_random_picture_is_another_record_s_and_not_its_neighbour_s() -> None:
    found = report.others(50, seed=0)
    assert sorted(found) == list(range(50)) and all(place != other for place, other in enumerate(found))
    assert sum(abs(place - other) == 1 for place, other in enumerate(found)) < 10
    assert found == report.others(50, seed=0) and report.others(1, seed=0) == [0]


def test_a_split_without_captions_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    bare = Prepared(scenes.prepare(tmp_path, 12, captions=0))
    with pytest.raises(ValueError, match="split 'validation' has an entry in `captions`"):
        task(bare).prepare(bare.split("train"), seed=0)
