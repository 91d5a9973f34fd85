"""``vlp explain`` on tasks trained for a moment: a picture, what was said, and whether the map can be believed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML

from support import models, scenes
from vlp.cli import main
from vlp.data.loading import Plans, Prepared, loader
from vlp.explain.explainer import Explainer
from vlp.explaining import PARAMS, PREPARED, TASKS
from vlp.params import parse
from vlp.plugins import find
from vlp.training.determinism import seed_everything
from vlp.training.loop import fit

SECTIONS: dict[str, dict[str, Any]] = {
    "matching": {"captions_per_image": 2, "pair_weight": 1.0},
    "vqa": {"questions_per_image": 4, "answers": 30},
    "captioning": {"captions_per_image": 2, "decoder": {"hidden": 32, "layers": 1, "heads": 2, "intermediate": 32}},
}
ASK = {"match": ["there is a red circle"], "ask": ["what colour is the circle?"], "caption": []}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a run leaves it, with three tasks, and a picture."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "data" / "prepared").mkdir(parents=True)
    prepared = Prepared(scenes.prepare(folder / "data" / "prepared", 40))
    train = prepared.split("train")
    for name, section in SECTIONS.items():
        seed_everything(0)
        plugin = find("vlp.tasks", name)
        params = parse(plugin.Params, {**section, "training": models.recipe(10).model_dump(mode="json")}, name)
        task = plugin.Task(params, models.model(prepared), prepared)
        fit(task, loader(train, task.collate, Plans(len(train), 8, 10, 0), seed=0), params.training)
        task.calibrate(prepared.split("validation"), seed=0)
        (folder / "models" / "tasks" / name).mkdir(parents=True)
        task.save(folder / "models" / "tasks" / name)
    sections = {"image": scenes.IMAGE.model_dump(mode="json"), "text": scenes.TEXT.model_dump(mode="json")}
    with (folder / "params.yaml").open("w") as file:
        YAML(typ="safe").dump(sections, file)
    Image.fromarray(prepared.split("test").images([0])[0].numpy()).save(folder / "picture.png")
    return folder


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    return project


@pytest.mark.parametrize("method", ["gradcam", "gradient_attention"])
@pytest.mark.parametrize("task", sorted(ASK))
def test_an_answer_is_explained_by_a_picture_and_a_line_a_word(here, capsys, task: str, method: str) -> None:
    main(["explain", task, "picture.png", *ASK[task], "--method", method, "--out", "why.png"])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.endswith("why.png") and lines
    assert all("by lot" in line for line in lines)
    shown = np.asarray(Image.open("why.png"))
    assert shown.ndim == 3 and (task == "caption" or shown.shape == (512, 512, 3))


def test_the_end_of_a_caption_counts_in_its_score_as_it_does_in_the_bundle_s(here, monkeypatch) -> None:
    explainer = Explainer(TASKS, PREPARED, PARAMS)
    task, pixels = explainer.task("captioning"), explainer.pixels(Path("picture.png").read_bytes())
    monkeypatch.setattr(type(task), "generate", lambda self, grid: torch.tensor([[5, 7, self.end_id, 0]]))
    said = explainer.caption(pixels)
    with torch.no_grad():
        grid = task.model.image_encoder(torch.from_numpy(pixels[None])).tokens
        read = torch.tensor([[task.begin_id, 5, 7]])
        sure = task.decoder(grid, read, torch.arange(1)).float().log_softmax(2)[0, [0, 1, 2], [5, 7, task.end_id]]
    assert said.score == pytest.approx(float(sure.mean().exp()), rel=1e-4)
    assert len(said.subjects) == 2


def test_json_holds_the_map_and_how_far_it_is_believed(here, capsys) -> None:
    main(["explain", "match", "picture.png", *ASK["match"], "--out", "why.png", "--json"])
    found = json.loads(capsys.readouterr().out)
    (explained,) = found["explained"]
    assert found["decision"] in ("true", "false") and found["method"] == "gradient_attention"
    assert np.array(explained["heat"]).shape == (8, 8)
    gain = explained["random_deletion"] - explained["deletion"]
    gain += explained["insertion"] - explained["random_insertion"]
    assert explained["gain"] == pytest.approx(gain / 2)


def test_the_models_of_another_project_are_asked_with_its_own_words_and_limits(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    ask = ["picture.png", *ASK["match"], "--method", "occlusion", "--json", "--out"]
    monkeypatch.chdir(project)
    main(["explain", "match", *ask, str(tmp_path / "why.png")])
    own = json.loads(capsys.readouterr().out)
    # From a project whose words have other numbers, though there are as many of them.
    (tmp_path / "data").mkdir()
    shutil.copytree(project / "data" / "prepared", tmp_path / "data" / "prepared")
    shutil.copy(project / "params.yaml", tmp_path)
    shutil.copy(project / "picture.png", tmp_path)
    path = tmp_path / "data" / "prepared" / "tokenizer" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    words = tokenizer["model"]["vocab"]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    plain = [word for word in words if word not in special]
    words |= dict(zip(plain, [words[word] for word in reversed(plain)], strict=True))
    path.write_text(json.dumps(tokenizer))
    monkeypatch.chdir(tmp_path)
    main(["explain", "match", *ask, "why.png", "--models", str(project / "models" / "tasks")])
    assert json.loads(capsys.readouterr().out)["score"] == own["score"]
    with pytest.raises(SystemExit):
        main(["explain", "match", *ask, "why.png"])
    assert "models/tasks/matching: no such folder; train the task first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["match", "none.png", "a circle", "--out", "w.png"], 1, "No such file"),
        (["match", "picture.png", "?!", "--out", "w.png"], 1, "error: empty"),
        (["ask", "picture.png", "what?", "--out", "w.png", "--models", "data"], 1, "not a project's models/tasks"),
        (["match", "params.yaml", "a circle", "--out", "w.png"], 1, "error: "),
        (["match", "picture.png", "a circle"], 2, "--out"),
        (["match", "picture.png", "a circle", "--out", "w.png", "--method", "guess"], 2, "invalid choice: 'guess'"),
    ],
)
def test_what_cannot_be_explained_is_one_line(here, capsys, arguments, status: int, message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", *arguments])
    said = capsys.readouterr().err
    assert ended.value.code == status and message in said and "Traceback" not in said
    assert not Path("w.png").exists()
