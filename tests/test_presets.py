from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from support.served import ROOT
from vlp import cli, overlays, plugins, worktrees
from vlp.params import load, load_section, read

PARAMS = """\
# Every number of a run.
seed: 7   # of everything

ingest:
  source: scenes   # a plug-in
  root: data/incoming
  columns: [caption]

# One section a source.
sources:
  scenes:
    records: 20000

  # Any table.
  manifest:
    group: null
    names:
      - a
      - b   # last
# Tasks
tasks:
  matching:
    rate: 1e-3   # learning
  vqa: {steps: 1}
"""


def merged(tmp_path: Path, overlay: str, *settings: str, params: str = PARAMS) -> str:
    path, preset = tmp_path / "params.yaml", tmp_path / "preset.yaml"
    path.write_text(params, encoding="utf-8")
    preset.write_text(overlay, encoding="utf-8")
    overlays.apply(preset, settings, path)
    return path.read_text(encoding="utf-8")


def test_mappings_merge_and_other_values_take_the_place(tmp_path):
    text = merged(tmp_path, "ingest: {source: manifest, columns: [title, tags]}\nsources: {manifest: {group: page}}\n")
    expected = PARAMS.replace("source: scenes   # a plug-in", "source: manifest # a plug-in")
    expected = expected.replace("columns: [caption]", "columns: [title, tags]").replace("group: null", "group: page")
    assert text == expected


def test_an_overlay_that_says_nothing_new_changes_no_byte(tmp_path):
    assert merged(tmp_path, "seed: 7\nsources: {scenes: {}}\n") == PARAMS


def test_a_replaced_mapping_is_not_merged_and_the_comment_after_it_stays(tmp_path):
    text = merged(tmp_path, "sources: !replace\n  disk: {path: x}\n")
    assert "sources:\n  disk: {path: x}\n# Tasks\ntasks:\n" in text
    assert "scenes:" not in text


def test_a_dropped_key_goes_with_the_comment_before_it_and_the_next_ones_stays(tmp_path):
    text = merged(tmp_path, "sources: {scenes: !drop }\n")
    assert "scenes:" not in text
    assert "# Tasks\ntasks:\n" in text
    assert "rate" not in merged(tmp_path, "tasks:\n  matching: !drop\n")


def test_what_has_been_dropped_already_is_no_error(tmp_path):
    once = merged(tmp_path, "tasks: {vqa: !drop }\n")
    assert merged(tmp_path, "tasks: {vqa: !drop }\n", params=once) == once


def test_a_dropped_key_that_looks_like_another_is_told_of(tmp_path, caplog):
    merged(tmp_path, "tasks:\n  matchin: !drop\n  vqa: !drop\n")
    assert [record.getMessage() for record in caplog.records] == [
        "tasks.matchin: !drop, but there is none; did you mean 'matching'?"
    ]


def test_null_is_a_value(tmp_path):
    assert "root: null\n" in merged(tmp_path, "ingest: {root: null}\n")


def test_a_new_key_stands_in_its_section_before_the_comment_of_the_next(tmp_path):
    text = merged(tmp_path, "ingest: {limit: 3}\nsources: {scenes: {size: 64}}\n")
    assert "columns: [caption]\n  limit: 3\n\n# One section a source.\n" in text
    assert "records: 20000\n    size: 64\n\n  # Any table.\n" in text


def test_settings_come_last_and_are_yaml(tmp_path):
    text = merged(tmp_path, "seed: 8\n", "seed=9", "tasks.matching.rate=1e-4", "ingest.columns=[a, b]")
    assert "seed: 9   # of everything" in text
    assert "rate: 1e-4   # learning" in text
    assert "columns: [a, b]" in text


@pytest.mark.parametrize(
    ("overlay", "settings", "message"),
    [
        ("{}", ["sed=1"], "--set sed=1: params.yaml has no sed; did you mean 'seed'?"),
        ("{}", ["tasks.maching.rate=1"], "params.yaml has no tasks.maching; did you mean 'matching'?"),
        ("{}", ["seed.deep=1"], "params.yaml has no seed.deep"),
        ("{}", ["seed"], "--set seed: expected key.path=value"),
        ("{}", ["seed=["], "--set seed=[: not valid YAML"),
        ("- 1", [], "preset.yaml: expected sections, found CommentedSeq"),
        ("a: !new {}", [], "an overlay knows the tags !replace and !drop, not !new"),
        (
            "tasks: {maching: {rate: !drop }}",
            [],
            "preset.yaml: tasks.maching.rate: !drop, but there is no section tasks.maching; did you mean 'matching'?",
        ),
        (
            "xyz: {deep: {rate: !drop }}",
            [],
            "xyz.deep.rate: !drop, but there is no section xyz; there is ingest, seed, ",
        ),
        ("seed: {deep: !drop }", [], "preset.yaml: seed.deep: !drop, but there is no section seed"),
        ("tasks: !replace {vqa: !drop }", [], "tasks.vqa: !drop, but tasks is !replace: leave the key out"),
    ],
)
def test_what_cannot_be_applied_is_refused_and_the_file_stays(tmp_path, overlay, settings, message):
    with pytest.raises(overlays.OverlayError) as refused:
        merged(tmp_path, overlay, *settings)
    assert message in str(refused.value)
    assert (tmp_path / "params.yaml").read_text(encoding="utf-8") == PARAMS


# The command line, on a real repository with a graph of two stages that take no time.

COPY = """\
import json, pathlib, sys
from ruamel.yaml import YAML
from tiny import FACTOR
params = YAML(typ="safe").load(pathlib.Path("params.yaml"))
pathlib.Path("data").mkdir(exist_ok=True)
if sys.argv[1] == "ingest":
    words = sorted(path.name for path in pathlib.Path(params["ingest"]["root"]).iterdir() if path.name != ".gitkeep")
    pathlib.Path("data/words.json").write_text(json.dumps(words))
else:
    pathlib.Path("metrics").mkdir(exist_ok=True)
    words = json.loads(pathlib.Path("data/words.json").read_text())
    pathlib.Path("metrics/count.json").write_text(json.dumps({"count": FACTOR * len(words), "seed": params["seed"]}))
"""
DVC = """\
stages:
  ingest:
    cmd: python stage.py ingest
    params: [ingest]
    deps: ["${ingest.root}", stage.py]
    outs: [data/words.json]
  count:
    cmd: python stage.py count
    params: [seed]
    deps: [data/words.json, stage.py, src/tiny.py]
    metrics:
      - metrics/count.json: {cache: false}
"""
REPOSITORY = {
    "params.yaml": "seed: 7  # of everything\ningest: {root: incoming}\n",
    "presets/mine.yaml": "seed: 8\n",
    "dvc.yaml": DVC,
    "stage.py": COPY,
    "src/tiny.py": "FACTOR = 1\n",
    "incoming/one": "",
    ".gitignore": "/runs/\n/data/\n__pycache__/\n",
    ".dvcignore": "runs\n",
    ".dvc/config": "[core]\n    analytics = false\n",
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
}


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "project"
    for name, text in REPOSITORY.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "start")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["src", os.environ["PYTHONPATH"]]))
    return folder


@pytest.fixture
def raw(tmp_path) -> Path:
    folder = tmp_path / "raw files"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / name).touch()
    return folder


def status(arguments: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    return stopped.value.code


def metrics(folder: Path) -> dict[str, int]:
    return json.loads((folder / "metrics" / "count.json").read_text(encoding="utf-8"))


def test_a_preset_is_merged_in_place(repository):
    cli.main(["preset", "mine", "--set", "ingest.root=elsewhere"])
    text = (repository / "params.yaml").read_text(encoding="utf-8")
    assert text == "seed: 8  # of everything\ningest: {root: elsewhere}\n"


def test_an_unknown_preset_lists_those_there_are(repository, capsys):
    assert status(["preset", "mien"]) == 1
    assert capsys.readouterr().err == "error: presets/mien.yaml: no such preset; did you mean 'mine'?\n"


@pytest.mark.parametrize("arguments", [[], ["preset"], ["run"], ["nonsense"]])
def test_a_wrong_command_line_has_status_2(arguments, capsys):
    assert status(arguments) == 2
    assert "usage: vlp" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_leaves_the_projects_own_files_alone_and_goes_on_where_it_ended(repository, raw, capfd):
    subprocess.run(["dvc", "repro", "--quiet"], check=True)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "own results")
    own = {path: path.read_bytes() for path in repository.rglob("*.*") if path.is_file() and ".git" not in path.parts}
    worktree = repository / "runs" / "mine"
    run = ["run", "--preset", "mine", "--root", os.path.relpath(raw)]

    cli.main(run)
    shown = capfd.readouterr()
    assert metrics(worktree) == {"count": 3, "seed": 8}
    assert read(worktree / "params.yaml") == {"seed": 8, "ingest": {"root": str(raw)}}
    assert "metrics:    runs/mine/metrics\n" in shown.out
    assert "warning" not in shown.err.lower()
    assert not (worktree / ".dvc" / "cache").exists(), "DVC's cache is the project's"
    assert own == {path: path.read_bytes() for path in own}
    assert git(repository, "status", "--porcelain") == ""

    cli.main(run)
    shown = capfd.readouterr()
    assert "Running stage" not in shown.out
    assert "didn't change, skipping" in shown.out

    (repository / "src" / "tiny.py").write_text("FACTOR = 10\n", encoding="utf-8")
    cli.main(run)
    shown = capfd.readouterr()
    assert "1 uncommitted changes are not part of it: src/tiny.py" in shown.err
    assert metrics(worktree) == {"count": 3, "seed": 8}

    git(repository, "commit", "--quiet", "-am", "ten times as much")
    cli.main([*run, "--set", "seed=9"])
    shown = capfd.readouterr()
    assert "Running stage 'count'" in shown.out
    assert "Running stage 'ingest'" not in shown.out
    assert metrics(worktree) == {"count": 30, "seed": 9}
    assert metrics(repository) == {"count": 1, "seed": 7}

    (worktree / "src" / "tiny.py").write_text("FACTOR = 0\n", encoding="utf-8")
    assert status(run) == 1
    assert "edited by hand: src/tiny.py" in capfd.readouterr().err


def test_one_run_at_a_time_has_a_preset_s_folder(repository, capfd):
    with worktrees.alone(repository / "runs" / "mine"):
        assert status(["run", "--preset", "mine"]) == 1
    assert "runs/mine: another run is under way there" in capfd.readouterr().err
    assert not (repository / "runs" / "mine").exists()


@pytest.mark.slow
def test_a_worktree_that_a_kill_left_half_made_shares_the_cache_all_the_same(repository, raw):
    worktree = repository / "runs" / "mine"
    git(repository, "worktree", "add", "--quiet", "--detach", str(worktree), "HEAD")
    cli.main(["run", "--preset", "mine", "--root", str(raw)])
    assert metrics(worktree) == {"count": 3, "seed": 8}
    assert not (worktree / ".dvc" / "cache").exists(), "DVC's cache is the project's"


@pytest.mark.slow
def test_raw_files_that_dvc_holds_are_there_in_a_run(repository):
    (repository / "incoming" / "more").mkdir()
    (repository / "incoming" / "more" / "two").touch()
    subprocess.run(["dvc", "add", "--quiet", "incoming/more"], check=True)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "raw files under DVC")
    cli.main(["run", "--preset", "mine"])
    assert (repository / "runs" / "mine" / "incoming" / "more" / "two").is_file()
    (repository / "incoming" / "more" / "three").touch()
    subprocess.run(["dvc", "add", "--quiet", "incoming/more"], check=True)
    git(repository, "commit", "--quiet", "-am", "one more")
    cli.main(["run", "--preset", "mine"])
    assert (repository / "runs" / "mine" / "incoming" / "more" / "three").is_file()


def test_a_kill_between_the_credentials_and_the_cache_leaves_it_half_made_too(repository, monkeypatch):
    (repository / worktrees.LOCAL_CONFIG).write_text("[core]\n    analytics = false\n")
    worktree, real = repository / "runs" / "mine", worktrees.dvc

    def killed(folder: Path, *arguments: str, capture: bool = False) -> str:
        if "--local" in arguments:
            raise KeyboardInterrupt
        return real(folder, *arguments, capture=capture)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(worktrees, "dvc", killed)
        worktrees.at_head(repository, worktree)
    assert (worktree / worktrees.LOCAL_CONFIG).exists()
    worktrees.at_head(repository, worktree)
    assert real(worktree, "cache", "dir", capture=True) == real(repository, "cache", "dir", capture=True)


@pytest.mark.slow
def test_a_stage_that_fails_ends_the_run_with_its_reason_and_a_status(repository, capfd):
    assert status(["run", "--preset", "mine", "--set", "ingest.root=nowhere"]) == 1
    err = capfd.readouterr().err
    assert "nowhere" in err
    assert "error: dvc repro: failed in" in err


@pytest.mark.slow
def test_a_root_that_is_not_there_is_told_before_anything_is_made(repository, capfd):
    assert status(["run", "--preset", "mine", "--root", "nowhere"]) == 1
    assert capfd.readouterr().err == "error: nowhere: no such folder, given as the preset's root\n"
    assert not (repository / "runs").exists()


def test_a_preset_whose_folder_is_something_elses_is_told(repository, capfd):
    (repository / "presets" / "serving.yaml").write_text("seed: 3\n")
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "--preset", "serving"])
    assert ended.value.code == 1
    assert "runs/serving is for something else: give the preset another name" in capfd.readouterr().err
    assert not (repository / "runs").exists()


def test_a_run_needs_a_repository(tmp_path, monkeypatch, capsys):
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "mine.yaml").write_text("seed: 8\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert status(["run", "--preset", "mine"]) == 1
    assert "not the root of a git repository" in capsys.readouterr().err


def test_the_command_is_installed_and_helps_without_a_training_library():
    code = "import sys; from vlp.cli import main\ntry: main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: vlp" in child.stdout
    assert not {"torch", "pyarrow", "ruamel", "dvc"} & set(child.stdout.split())


PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))
SPANS = re.compile(r"^ *```\w*\n(.*?)^ *```|`([^`]+)`", re.MULTILINE | re.DOTALL)
DOCUMENTS = sorted([*ROOT.glob("README*.md"), *(ROOT / "docs").glob("*.md")])


def with_preset(tmp_path: Path, preset: str, *settings: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_bytes((ROOT / "params.yaml").read_bytes())
    overlays.apply(ROOT / "presets" / f"{preset}.yaml" if preset else None, settings, path)
    return path


def every_stage_takes(path: Path) -> None:
    for stage in ("ingest", "validate", "preprocess", "pretrain", "evaluate", "export", "reference"):
        load(import_module(f"vlp.stages.{stage}").Params, path)
    for task in read(path)["tasks"]:
        load_section(f"tasks.{task}", plugins.find("vlp.tasks", task).Params, path)


def said(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every command or part of one with ``--set``: the preset that was named last, if any, and the settings."""
    preset = ""
    for block, inline in SPANS.findall(text):
        for line in [inline.replace("\n", " ")] if inline else block.replace("\\\n", " ").splitlines():
            preset = next((word for word in re.findall(r"[\w-]+", line) if word in PRESETS), preset)
            words = shlex.split(line, comments=True) if "--set " in line else []
            if settings := [value for option, value in itertools.pairwise(words) if option == "--set"]:
                yield preset, settings


def test_what_documents_and_presets_say_to_set_can_be_set(tmp_path: Path) -> None:
    found: list[tuple[str, list[str]]] = []
    for preset in PRESETS:
        text = (ROOT / "presets" / f"{preset}.yaml").read_text(encoding="utf-8")
        head = "".join(line.removeprefix("#") for line in text.splitlines(keepends=True) if line.startswith("#"))
        found += said(f"`{preset}`\n```\n{head.replace(chr(39), '')}```\n")
    for document in DOCUMENTS:
        found += said(document.read_text(encoding="utf-8"))
    assert {"resnet50-bert", "resnet50-bert-fusion", "tiny"} <= {preset for preset, _ in found}
    for preset, settings in found:
        every_stage_takes(with_preset(tmp_path, preset, *settings))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_can_be_applied_twice(tmp_path: Path, preset: str) -> None:
    path = with_preset(tmp_path, preset)
    once = path.read_text(encoding="utf-8")
    overlays.apply(ROOT / "presets" / f"{preset}.yaml", [], path)
    assert path.read_text(encoding="utf-8") == once


@pytest.mark.parametrize("preset", PRESETS)
def test_every_stage_takes_the_parameters_of_every_preset(tmp_path: Path, preset: str) -> None:
    every_stage_takes(with_preset(tmp_path, preset))
