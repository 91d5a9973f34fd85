"""Cross-validation in earnest, on a real repository whose pipeline takes no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.pipelines import committed, git
from vlp import cli, folds

pytestmark = pytest.mark.slow

EVALUATE = """\
import json, sys
from pathlib import Path
from ruamel.yaml import YAML
params = YAML(typ="safe").load(Path("params.yaml"))
Path("metrics").mkdir(exist_ok=True)
figures = {"accuracy": 0.5 + params["split"]["turn"], "accuracy_ci95": [0, 1], "shares": params["split"]}
figures["seed"] = params["seed"]
Path(f"metrics/{sys.argv[1]}.json").write_text(json.dumps(figures))
"""
FILES = {
    "params.yaml": "seed: 1\nsplit: {train: 0.85, validation: 0.05, test: 0.1, turn: 0.0, official: keep}\n"
    "tasks: {matching: {}, vqa: {}}\n",
    "dvc.yaml": """\
stages:
  evaluate:
    foreach: ${tasks}
    do:
      cmd: python evaluate.py ${key}
      params: [seed, split]
      deps: [evaluate.py]
      metrics:
        - metrics/${key}.json: {cache: false}
""",
    "evaluate.py": EVALUATE,
    ".gitignore": "/runs/\n",
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = committed(tmp_path / "project", FILES)
    monkeypatch.chdir(folder)
    return folder


def test_the_users_hooks_do_not_run_in_the_folds_worktrees(repository, capsys) -> None:
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")  # as `dvc install`'s ends where the cache is not yet set
    hook.chmod(0o755)
    cli.main(["cross-validate", "--folds", "2", "--json", "matching"])
    assert json.loads(capsys.readouterr().out).keys() == {"matching"}


def test_every_fold_has_another_test_split_and_mean_and_deviation_are_told(repository, capsys) -> None:
    cli.main(["cross-validate", "--folds", "4", "--json", "--set", "seed=3", "matching"])
    found = json.loads((repository / "runs" / "folds" / "metrics.json").read_text())
    assert found.keys() == {"matching"}
    accuracy = found["matching"]["accuracy"]
    assert accuracy["folds"] == [0.5, 0.75, 1.0, 1.25]
    assert accuracy["mean"] == 0.875 and accuracy["std"] == pytest.approx(0.322749, abs=1e-6)
    assert found["matching"]["seed"]["folds"] == [3.0] * 4
    assert found["matching"]["shares.test"]["mean"] == 0.25
    assert found["matching"]["shares.train"]["mean"] == pytest.approx(0.7)
    assert "accuracy_ci95" not in found["matching"]
    assert git(repository, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "1"], "two or more are needed"),
        (["--set", "split.test=0.3"], "--set split.test: the folds decide it"),
        (["--set", "split={validation: 0.1, train: 0.5}"], "--set split.train: the folds decide it"),
        (["captioning"], "captioning: no such task in params.yaml, which has matching, vqa"),
    ],
)
def test_what_cannot_be_cross_validated_is_refused(repository, capsys, arguments, message) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["cross-validate", *arguments])
    assert ended.value.code == 1 and message in capsys.readouterr().err
    assert not (repository / "runs").exists()


def test_a_figure_that_a_fold_lacks_is_a_mean_over_the_others_and_counted() -> None:
    runs = [{"f1": 0.5, "by_label": {"ring": {"f1": 1.0}}}, {"f1": None, "by_label": {}}, {"f1": 0.7, "by_label": {}}]
    found = folds._summary(runs)
    assert found["f1"]["mean"] == pytest.approx(0.6) and found["f1"]["folds"] == [0.5, None, 0.7]
    assert found["f1"]["undefined_folds"] == 1
    assert found["by_label.ring.f1"] == {"mean": 1.0, "std": None, "folds": [1.0, None, None], "undefined_folds": 2}


def test_a_validation_share_that_is_set_is_the_folds_own(repository, capsys) -> None:
    cli.main(["cross-validate", "--folds", "2", "--json", "--set", "split.validation=0.1", "matching"])
    shares = json.loads(capsys.readouterr().out)["matching"]
    assert shares["shares.validation"]["mean"] == pytest.approx(0.1)
    assert shares["shares.train"]["mean"] == pytest.approx(0.4) and shares["shares.test"]["mean"] == 0.5
