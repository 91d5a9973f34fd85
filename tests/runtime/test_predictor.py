"""Answers from a bundle whose graphs can be worked by hand."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.bundles import picture, png, write_toy_bundle
from vlp.export.bundle import _table
from vlp.preprocessing.image import ImageError
from vlp.records import Answer
from vlp.runtime.bundle import BundleError
from vlp.runtime.explain import CELLS
from vlp.runtime.inputs import InputError
from vlp.runtime.predictor import Predictor
from vlp.runtime.tasks.matching import TEXTS_AT_ONCE

SURE = 1 / (1 + math.exp(-10))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    write_toy_bundle(root / "bundle", root / "work")
    return root / "bundle"


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return Predictor.open(folder, threads=1)


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Replace a file and vouch for the new one, as someone might who means it."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, "files": _table(folder)}))


def test_true_and_false_statements(predictor: Predictor) -> None:
    red, blue = predictor.match(png("red"), ["a red square", "a blue square"])
    assert (red.task, red.decision) == ("matching", "true")
    assert red.score == pytest.approx(SURE)
    assert red.scores == {"true": red.score, "false": 1 - red.score}
    assert blue.decision == "false"
    assert blue.score == pytest.approx(1 - SURE)
    assert predictor.tasks == ("matching",)


def test_a_score_at_the_threshold_is_true(predictor: Predictor) -> None:
    assert predictor.match(png("red"), ["a purple square"]) == [
        Answer(task="matching", decision="true", score=0.5, scores={"true": 0.5, "false": 0.5})
    ]


def test_the_threshold_comes_from_the_bundle(tmp_path: Path) -> None:
    write_toy_bundle(tmp_path / "strict", tmp_path / "work", threshold=0.6)
    assert Predictor.open(tmp_path / "strict").match(png("red"), ["a purple square"])[0].decision == "false"


def test_an_answer_does_not_depend_on_its_neighbours(predictor: Predictor) -> None:
    texts = ["a red square", "red", "a blue field of small stones", "a purple circle"]
    together = predictor.match(png("red"), texts)
    assert together == [predictor.match(png("red"), [text])[0] for text in texts]
    assert together[::-1] == predictor.match(png("red"), texts[::-1])


def test_long_lists_run_in_pieces_and_lose_nothing(predictor: Predictor) -> None:
    texts = ["a red square", "a blue circle", "purple"] * TEXTS_AT_ONCE
    assert predictor.match(png("blue"), texts) == predictor.match(png("blue"), texts[:3]) * TEXTS_AT_ONCE


def test_no_text_has_no_answer(predictor: Predictor) -> None:
    assert predictor.match(png("red"), []) == []


def test_prepared_pixels_skip_decoding_and_nothing_else(predictor: Predictor) -> None:
    assert predictor.task("matching").match_prepared(picture("red"), ["a red square"]) == predictor.match(
        png("red"), ["a red square"]
    )


def test_texts_are_cleaned_as_the_training_texts_were(predictor: Predictor) -> None:
    assert predictor.match(png("red"), ["\u200b a  RED\tsquare "]) == predictor.match(png("red"), ["a red square"])


def test_a_text_that_training_would_refuse_is_refused_by_its_place(predictor: Predictor) -> None:
    with pytest.raises(InputError, match=r"texts\[1\]: too_long: 11 words"):
        predictor.match(png("red"), ["a red square", "red " * 11])
    with pytest.raises(InputError, match=r"texts\[0\]: empty"):
        predictor.match(png("red"), ["?!"])


def test_an_image_that_training_would_refuse_is_refused(predictor: Predictor) -> None:
    with pytest.raises(ImageError, match="not_an_image"):
        predictor.match(b"no image", ["a red square"])
    with pytest.raises(ImageError, match="truncated"):
        predictor.match(png("red")[:-20], ["a red square"])


def test_an_explanation_lies_over_the_whole_picture_not_over_what_was_cropped(folder: Path) -> None:
    cropping = Predictor.open(folder, threads=1)
    cropping.inputs.image_params = cropping.inputs.image_params.model_copy(update={"resize": "crop"})
    image = Image.fromarray(np.concatenate([picture("red"), picture("blue")], axis=1))  # the middle half is looked at
    image.save(out := BytesIO(), "PNG")
    heat = cropping.explain(out.getvalue(), "a red square").heat
    assert heat.shape == (CELLS, CELLS)
    assert not heat[:, [0, 1, 2, 9, 10, 11]].any()
    assert (heat[:, 3:5] > 0).all() and (heat[:, 7:9] < 0).all()


def test_threads_share_a_predictor(predictor: Predictor) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda colour: predictor.match(png(colour), ["a red square"]), ["red", "blue"] * 20))
    assert [answers[0].decision for answers in found] == ["true", "false"] * 20


def test_a_task_that_the_bundle_lacks_is_named(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "bundle"))
    manifest = json.loads((other / "bundle.json").read_text())
    (other / "bundle.json").write_text(json.dumps({**manifest, "tasks": {}}))
    with pytest.raises(BundleError, match="no task 'matching'; it holds none"):
        Predictor.open(other).match(png("red"), ["red"])


def test_a_graph_that_is_no_graph_is_refused(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "bundle"))
    rewrite(broken, "matching/image.onnx", b"not a graph")
    with pytest.raises(BundleError, match=r"image\.onnx: ONNX Runtime .* does not open it"):
        Predictor.open(broken)


def test_graphs_that_were_swapped_are_refused(folder: Path, tmp_path: Path) -> None:
    swapped = Path(shutil.copytree(folder, tmp_path / "bundle"))
    rewrite(swapped, "matching/image.onnx", (folder / "matching/score.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"image\.onnx: inputs .* but bundle\.json lists \['images'\]"):
        Predictor.open(swapped)


def test_a_tokenizer_that_is_none_is_refused(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "bundle"))
    rewrite(broken, "tokenizer/tokenizer.json", b"{}")
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        Predictor.open(broken)


@pytest.mark.parametrize("params", [b'{"image": {"size": 16}}', b'{"image": {"size": 4}, "text": {}}'])
def test_parameters_that_are_none_are_refused(folder: Path, tmp_path: Path, params: bytes) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "bundle"))
    rewrite(broken, "params.json", params)
    with pytest.raises(BundleError, match=r"params\.json: (text|image)"):
        Predictor.open(broken)


def test_predicting_needs_neither_torch_nor_anything_else_of_training(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(png("red"))
    code = """
import json, sys
from pathlib import Path
from vlp.runtime.predictor import Predictor
answer = Predictor.open(sys.argv[1]).match(Path(sys.argv[2]).read_bytes(), ["a red square"])[0]
print(json.dumps({"decision": answer.decision, "loaded": sorted({name.split(".")[0] for name in sys.modules})}))
"""
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "red.png")]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    found = json.loads(child.stdout)
    assert found["decision"] == "true"
    training = {
        "torch",
        "torchvision",
        "transformers",
        "onnx",
        "sklearn",
        "scipy",
        "pyarrow",
        "pandas",
        "ruamel",
        "dvc",
    }
    assert not training & set(found["loaded"])
