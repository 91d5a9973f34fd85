"""Answers on the command line, from a bundle whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.bundles import png, write_toy_bundle
from vlp.cli import main


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    write_toy_bundle(root / "bundle", root / "work")
    return root / "bundle"


@pytest.fixture
def red(tmp_path: Path) -> Path:
    (tmp_path / "red.png").write_bytes(png("red"))
    return tmp_path / "red.png"


def test_each_text_has_a_line(bundle: Path, red: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["predict", "match", str(red), "a red square", "a blue square", "--bundle", str(bundle)])
    assert capsys.readouterr().out.splitlines() == ["1.000  true   a red square", "0.000  false  a blue square"]


def test_json_is_one_value(bundle: Path, red: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["predict", "match", str(red), "a red square", "--bundle", str(bundle), "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["text"], found["decision"]) == ("a red square", "true")
    assert found["scores"]["true"] == found["score"] > 0.99


def test_an_explanation_is_a_picture(bundle: Path, red: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = red.parent / "why.png"
    main(["explain", "match", str(red), "a red square", "--out", str(out), "--bundle", str(bundle)])
    assert capsys.readouterr().out == f"true  (1.000)  {out}\n"
    shown = np.asarray(Image.open(out))
    assert shown.shape == (512, 512, 3)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--method", "gradcam"], "--method gradcam: a bundle shows its answers only"),
        (["--models", "models/tasks"], "--models and --bundle: one model is asked"),
    ],
)
def test_what_means_nothing_to_a_bundle_is_refused(bundle: Path, red: Path, capsys, option, message) -> None:
    out = red.parent / "why.png"
    with pytest.raises(SystemExit) as ended:
        main(["explain", "match", str(red), "a red square", "--out", str(out), "--bundle", str(bundle), *option])
    assert ended.value.code == 1 and message in capsys.readouterr().err and not out.exists()
    main(
        [
            "explain",
            "match",
            str(red),
            "a red square",
            "--out",
            str(out),
            "--bundle",
            str(bundle),
            "--method",
            "occlusion",
        ]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["match", "{red}.txt", "a red square"], "No such file or directory"),
        (["match", "{red}", "?!"], "texts[0]: empty"),
        (["ask", "{red}", "what colour is it?"], "no task 'vqa'; it holds matching"),
        (["classify"], "classify: give a picture, or --text, or both"),
        (["retrieve", "{folder}"], "retrieve: give --text, or --image, or both"),
        (["retrieve", "{folder}/none", "--text", "red"], "none: no such folder"),
        (["retrieve", "{folder}", "--text", "red", "-k", "-3"], "retrieve: -k -3: 1 or more answers"),
        (["retrieve", "{folder}/empty", "--text", "red"], "empty: no picture in it"),
        (["segment", "{red}", "the square", "--out", "{folder}/mask.png"], "no task 'segmentation'"),
    ],
)
def test_what_cannot_be_answered_is_one_line_and_leaves_no_file(
    bundle: Path, red: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (red.parent / "empty").mkdir()
    filled = [argument.format(red=red, folder=red.parent) for argument in arguments]
    with pytest.raises(SystemExit) as ended:
        main(["predict", *filled, "--bundle", str(bundle)])
    printed = capsys.readouterr()
    assert ended.value.code == 1
    assert printed.out == "" and printed.err.startswith("error: ") and message in printed.err
    assert sorted(path.name for path in red.parent.iterdir()) == ["empty", "red.png"]


def test_a_wrong_command_line_ends_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["predict", "segment", "picture.png", "the square"])
    assert ended.value.code == 2
    assert "--out" in capsys.readouterr().err
