"""A search on a real DVC repository whose training takes no time: trials are experiments, and it survives a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.pipelines import committed, git
from vlp import cli
from vlp.params import read
from vlp.tuning import trial

pytestmark = pytest.mark.slow

TRAIN = """\
import json, math, os, sys, time
from pathlib import Path
from ruamel.yaml import YAML
section = YAML(typ="safe").load(Path("params.yaml"))["tasks"]["matching"]
rate = section["rate"]
if rate > section["breaks_above"]:
    sys.exit("error: step 0: the loss is not a finite number; lower learning_rate")
for step in range(1, 6):
    loss = abs(math.log10(rate) + 2) + 1 / step
    with open(os.environ["VLP_WATCH"], "a") as file:
        file.write(json.dumps({"step": step, "loss": loss}) + "\\n")
    time.sleep(section["pause"])
Path("metrics/finetune").mkdir(parents=True, exist_ok=True)
Path("metrics/finetune/matching.json").write_text(json.dumps({"validation": {"loss": loss}}))
Path("model").write_text(str(rate))
"""
FILES = {
    "params.yaml": "tasks:\n  matching:   # kept\n    rate: 1.0\n    pause: 0.0\n    breaks_above: 9.0\n",
    "dvc.yaml": """\
stages:
  finetune:
    foreach: ${tasks}
    do:
      cmd: python train.py
      params: ["tasks.${key}"]
      deps: [train.py]
      outs: [model]
      metrics:
        - metrics/finetune/${key}.json: {cache: false}
""",
    "train.py": TRAIN,
    "tuning.yaml": "matching:\n  before_pruning: 2\n  space:\n"
    "    tasks.matching.rate: {low: 1.0e-4, high: 1.0, log: true}\n",
    ".gitignore": "/runs/\n/model\n",
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = committed(tmp_path / "project", FILES)
    monkeypatch.chdir(folder)
    return folder


def commit(folder: Path, **changes: float) -> None:
    text = (folder / "params.yaml").read_text()
    for name, value in changes.items():
        text = "\n".join(f"    {name}: {value}" if f" {name}:" in line else line for line in text.splitlines()) + "\n"
    (folder / "params.yaml").write_text(text)
    git(folder, "commit", "--quiet", "--all", "-m", "change")


def tune(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    cli.main(["tune", "matching", "--json", *arguments])
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def experiments(folder: Path) -> dict[str, dict[str, str]]:
    """``dvc exp show``, by experiment."""
    table = subprocess.run(["dvc", "exp", "show", "--csv"], cwd=folder, capture_output=True, text=True, check=True)
    head, *lines = [line.split(",") for line in table.stdout.splitlines()]
    return {line[0]: dict(zip(head, line, strict=True)) for line in lines if line[0]}


def test_trials_are_experiments_of_dvcs_and_the_best_is_applied_with_one_command(repository, capsys) -> None:
    rows = tune(capsys, "--trials", "5")
    assert len(rows) == 5 and {row["state"] for row in rows} <= {"complete", "pruned"}
    shown = experiments(repository)
    assert shown.keys() == {row["name"] for row in rows}
    for row in rows:
        rate = row["params"]["tasks.matching.rate"]
        assert float(shown[row["name"]]["tasks.matching.rate"]) == pytest.approx(rate, rel=1e-3)
    complete = [row["value"] for row in rows if row["state"] == "complete"]
    assert complete == sorted(complete) and rows[0]["value"] == complete[0]
    assert git(repository, "status", "--porcelain") == ""  # the user's own files are as they were
    assert len(tune(capsys, "--trials", "6")) == 6

    best = tune(capsys, "--apply")[0]
    text = (repository / "params.yaml").read_text()
    assert "# kept" in text
    assert read(repository / "params.yaml")["tasks"]["matching"]["rate"] == best["params"]["tasks.matching.rate"]


def test_a_trial_that_does_not_pay_is_ended_and_still_recorded(repository, capsys) -> None:
    commit(repository, pause=1.5)
    text = (repository / "tuning.yaml").read_text()
    text = text.replace("{low: 1.0e-4, high: 1.0, log: true}", "{choices: [0.01, 0.0001]}")
    (repository / "tuning.yaml").write_text(text.replace("before_pruning: 2", "before_pruning: 1\n  seed: 6"))
    git(repository, "commit", "--quiet", "--all", "-m", "two rates")
    rows = tune(capsys, "--trials", "3")
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned and all(row["params"]["tasks.matching.rate"] == 0.0001 for row in pruned)
    shown = experiments(repository)
    for row in pruned:
        assert 0 < float(shown[row["name"]]["pruned_at_step"]) < 5
        assert float(shown[row["name"]]["tasks.matching.rate"]) == 0.0001


def test_a_search_that_is_killed_goes_on_and_tries_what_was_cut_off_again(repository, capsys) -> None:
    commit(repository, pause=0.8)
    code = "import sys; from vlp import cli; cli.main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "tune", "matching", "--trials", "2"]
    killed = subprocess.Popen(command, cwd=repository, env=os.environ, stderr=subprocess.DEVNULL)
    notes = repository / "runs" / "tune" / "matching"
    deadline = time.monotonic() + 120
    while not list(notes.glob("*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    left = json.loads((notes / "running.json").read_text())["pid"]
    assert Path(f"/proc/{left}").exists()  # the trial has outlived its search
    rows = tune(capsys, "--trials", "2")
    assert not Path(f"/proc/{left}").exists() or "Z" in Path(f"/proc/{left}/stat").read_text()
    cut_off = [row for row in rows if row["state"] == "fail"]
    ended = [row for row in rows if row["state"] != "fail"]
    assert len(cut_off) == 1 and len(ended) == 2
    assert any(row["params"] == cut_off[0]["params"] for row in ended)


def test_a_trial_that_an_earlier_version_remembered_is_for_a_person_to_end(tmp_path) -> None:
    place = trial.Place(tmp_path, tmp_path, tmp_path, "matching")
    record = tmp_path / "running.json"
    record.write_text(json.dumps({"pid": os.getpid(), "created": 1.0}))
    with pytest.raises(
        trial.TrialError, match=r"running\.json: process \d+ may be a trial .* end it if so, and remove"
    ):
        trial.end_leftover(place)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    record.write_text(json.dumps({"pid": gone.pid, "created": 1.0}))
    trial.end_leftover(place)
    assert not record.exists()


def test_trials_that_fail_are_told_and_a_search_of_nothing_else_gives_up(repository, capsys) -> None:
    commit(repository, breaks_above=0.0)
    with pytest.raises(SystemExit) as ended:
        cli.main(["tune", "matching"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "failed: error: step 0: the loss is not a finite number" in said
    assert "3 trials in a row failed" in said
    with pytest.raises(SystemExit):
        cli.main(["tune", "matching", "--apply"])
    assert "no trial of matching at this commit, as tuning.yaml searches now, has ended" in capsys.readouterr().err


def test_a_figure_that_is_no_number_is_a_trial_that_failed(repository, capsys) -> None:
    (repository / "train.py").write_text(
        TRAIN.replace("loss = abs(math.log10(rate) + 2) + 1 / step", "loss = math.nan")
    )
    git(repository, "commit", "--quiet", "--all", "-m", "change")
    with pytest.raises(SystemExit):
        cli.main(["tune", "matching"])
    said = capsys.readouterr().err
    assert said.count("failed: validation: loss is nan") == 3
    assert "3 trials in a row failed" in said


def test_another_direction_is_another_search(repository, capsys) -> None:
    tune(capsys, "--trials", "1")
    text = FILES["tuning.yaml"].replace("matching:\n", "matching:\n  direction: maximize\n")
    (repository / "tuning.yaml").write_text(text)
    rows = tune(capsys, "--trials", "2")
    values = [row["value"] for row in rows if row["state"] == "complete"]
    assert len(rows) == 2 and values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("text", "task", "message"),
    [
        ("matching: {space: {tasks.matching.rat: {low: 1, high: 2}}}", "matching", "did you mean 'rate'?"),
        ("vqa: {space: {seed: {low: 1, high: 2}}}", "vqa", "params.yaml has no such task; there is matching"),
        ("matching: {space: {}}", "matching", "space"),
        ("matching: {space: {tasks.matching.rate: {low: 0.1, high: 1.0}}}", "vqa", "tuning.yaml: vqa: missing"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(repository, capsys, text, task, message) -> None:
    (repository / "tuning.yaml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        cli.main(["tune", task])
    assert ended.value.code == 1 and message in capsys.readouterr().err
    assert not (repository / "runs" / "tune" / task / "worktree").exists()


def test_another_space_metric_or_direction_is_another_study(repository, capsys) -> None:
    first = tune(capsys, "--trials", "2")
    text = (repository / "tuning.yaml").read_text()
    (repository / "tuning.yaml").write_text(text.replace("low: 1.0e-4, high: 1.0, log: true", "choices: [0.01, 0.1]"))
    with pytest.raises(SystemExit):
        cli.main(["tune", "matching", "--apply"])
    assert "no trial of matching at this commit, as tuning.yaml searches now, has ended" in capsys.readouterr().err
    cli.main(["tune", "matching", "--json", "--trials", "2"])
    said = capsys.readouterr()
    rows = json.loads(said.out)
    assert "those trials are no part of this search" in said.err
    assert len(rows) == 2 and {row["params"]["tasks.matching.rate"] for row in rows} <= {0.01, 0.1}
    assert experiments(repository).keys() == {row["name"] for row in [*first, *rows]}
    (repository / "tuning.yaml").write_text(text)
    assert {row["name"] for row in tune(capsys, "--trials", "2")} == {row["name"] for row in first}
