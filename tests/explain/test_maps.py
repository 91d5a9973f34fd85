"""Maps of real tasks, trained for a moment: they hang on what was said, and add up to what they are said to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from support import models, scenes, watching
from vlp.data.loading import Plans, Prepared, loader
from vlp.explain import subjects
from vlp.explain.maps import ExplainError, heat
from vlp.params import parse
from vlp.plugins import find
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit

SECTIONS: dict[str, dict[str, Any]] = {
    "matching": {"captions_per_image": 2, "pair_weight": 1.0},
    "vqa": {"questions_per_image": 4, "answers": 30},
    "captioning": {"captions_per_image": 2, "decoder": {"hidden": 32, "layers": 2, "heads": 2, "intermediate": 32}},
}
METHODS = ("gradcam", "attention", "gradient_attention", "occlusion")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 40))


def task(name: str, prepared: Prepared, fusion: dict[str, Any] | None = None, **more: Any) -> Any:
    seed_everything(0)
    plugin = find("vlp.tasks", name)
    section = {"training": models.recipe(10).model_dump(mode="json"), **SECTIONS[name], **more}
    made = plugin.Task(parse(plugin.Params, section, name), models.model(prepared, fusion), prepared)
    train = prepared.split("train")
    fit(made, loader(train, made.collate, Plans(len(train), 8, 10, 0), seed=0), made.params.training)
    return made.eval().requires_grad_(False)


def said(name: str, made: Any, prepared: Prepared, row: int = 0) -> list[subjects.Subject]:
    test = prepared.split("test")
    if name == "matching":
        return [subjects.statement(made, ids) for ids in test.ids("captions", "ids", row)[:2]]
    if name == "vqa":
        return [subjects.answer(made, test.ids("questions", "ids", row)[0], chosen) for chosen in (0, 1)]
    ids = test.ids("captions", "ids", row)[0][:-1]
    return subjects.words(made, ids, [str(token) for token in ids[1:]])[:2]


def pixels(prepared: Prepared, row: int = 0) -> np.ndarray:
    return prepared.split("test").images([row])[0].numpy()


@pytest.fixture(scope="module", params=SECTIONS)
def asked(request: pytest.FixtureRequest, prepared: Prepared) -> tuple[list[subjects.Subject], np.ndarray]:
    made = task(request.param, prepared)
    return said(request.param, made, prepared), pixels(prepared)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_maps_every_task_and_two_things_said_have_two_maps(asked: Any, method: Any) -> None:
    (first, second), picture = asked
    found = [heat(subject, picture, method) for subject in (first, second)]
    assert all(each.dtype == np.float32 and np.isfinite(each).all() for each in found)
    assert found[0].shape == ((12, 12) if method == "occlusion" else (8, 8))
    assert np.ptp(found[0]) > 0
    if method != "attention":  # which is the same whatever is answered to one question
        assert not np.allclose(*found)
    if method in ("gradcam", "gradient_attention"):
        assert found[0].min() >= 0
    assert np.array_equal(found[0], heat(first, picture, method))


def test_looks_are_shares(asked: Any) -> None:
    (first, _), picture = asked
    assert heat(first, picture, "attention").sum() == pytest.approx(1, abs=1e-4)


def test_what_is_explained_is_what_the_task_says(asked: Any) -> None:
    """The logit inside is the logit of the picture, and the probability is of the same."""
    (first, _), picture = asked
    grid = first.task.model.image_encoder(torch.from_numpy(picture)[None]).tokens
    inside, _ = first.inside(grid)
    outside = first.logit(torch.from_numpy(picture)[None])
    assert float(inside) == pytest.approx(float(outside), abs=1e-4)
    two = first.probability(np.stack([picture, np.full_like(picture, 128)]))
    assert two.shape == (2,) and (two >= 0).all() and (two <= 1).all() and two[0] != two[1]


def test_many_pictures_are_looked_at_some_at_a_time(asked: Any) -> None:
    (first, second), picture = asked
    many = np.repeat(picture[None], 150, axis=0)
    many[::2] = 128
    with torch.no_grad(), watching.rows(first.task.model.image_encoder) as seen:
        found = first.probability(many)
    assert seen == [64, 64, 22]
    assert found[1] != found[0] and np.ptp(found[::2]) < 1e-5 and np.ptp(found[1::2]) < 1e-5
    with torch.no_grad(), watching.rows(first.task.model.image_encoder) as seen:
        second.probability(many)
    remembered = second.token is not None  # the words of a caption are asked about the same pictures
    assert seen == ([] if remembered else [64, 64, 22])


def test_a_prefix_decoder_is_read_where_it_looks_at_the_picture(prepared: Prepared) -> None:
    decoder = {"look": "prefix", "hidden": 32, "layers": 1, "heads": 2, "intermediate": 32}
    made = task("captioning", prepared, decoder=decoder)
    (first, _) = said("captioning", made, prepared)
    looks = heat(first, pixels(prepared), "attention")
    assert looks.shape == (8, 8) and 0 < looks.sum() < 1  # the rest of the look is at words


def test_a_fusion_without_looks_says_which_methods_there_are(prepared: Prepared) -> None:
    made = task("matching", prepared, fusion=models.CONCAT_MLP)
    first, picture = said("matching", made, prepared)[0], pixels(prepared)
    with pytest.raises(ExplainError, match="no attention over places; take gradcam or occlusion"):
        heat(first, picture, "attention")
    assert heat(first, picture, "gradcam").shape == (8, 8)
