"""The whole report, of a real repository under git and DVC with two branches."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from support import branches
from vlp import cli

pytestmark = pytest.mark.slow

EXPECTED = Path(__file__).parent / "expected.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository, on the branch ``change``; tests only read it."""
    folder = branches.make(tmp_path_factory.mktemp("made") / "project")
    branches.change(folder)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to change."""
    folder = shutil.copytree(made, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    cli.main(["report", *arguments])
    return capsys.readouterr().out


def test_the_users_hooks_do_not_run_in_its_worktrees(project, capsys):
    hook = project / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    assert "# What this branch changes" in report(capsys, "--base", "main")


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a failing report says, which writes nothing else."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["report", *arguments])
    assert stopped.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1, shown.err
    return shown.err.removeprefix("error: ").strip()


def commits(project: Path) -> dict[str, str]:
    return {name: branches.run(project, "git", "rev-parse", name).strip() for name in ("main", "HEAD")}


def test_the_report_of_a_branch(project, capsys, tmp_path):
    branches.write(project, {"params.yaml": "seed: 8\n"})  # not committed: no part of the report
    before = branches.run(project, "git", "status", "--porcelain"), sorted(path.name for path in project.iterdir())
    out = tmp_path / "report.md"
    cli.main(["report", "--base", "main", "--out", str(out)])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "1 uncommitted changes are not in it: params.yaml" in shown.err
    text = out.read_text(encoding="utf-8")
    for name, commit in commits(project).items():
        text = text.replace(commit[:9], f"<{name}>")
    text = re.sub(r"(\| `data/prepared` \| output) \|.*", r"\1 | … | … |", text)  # Arrow's bytes are of its version
    assert text == EXPECTED.read_text(encoding="utf-8")
    after = branches.run(project, "git", "status", "--porcelain"), sorted(path.name for path in project.iterdir())
    assert before == after
    assert branches.run(project, "git", "worktree", "list").count("\n") == 1, "a worktree was left behind"


def test_a_metrics_file_missing_from_the_commit_is_a_failure(project, capsys):
    branches.run(project, "git", "rm", "--quiet", "metrics/matching.json")
    branches.commit(project, "lost")
    assert refusal(capsys) == (
        "HEAD: metrics/matching.json: declared in dvc.yaml, but not in the commit; run dvc repro and commit dvc.lock "
        "with its metrics"
    )


def test_a_metrics_file_missing_from_the_base_is_a_failure(project, capsys):
    branches.run(project, "git", "checkout", "--quiet", "main")
    branches.run(project, "git", "rm", "--quiet", "metrics/timing/matching.json")
    branches.commit(project, "lost")
    branches.run(project, "git", "checkout", "--quiet", "change")
    assert refusal(capsys).startswith("main: metrics/timing/matching.json: declared in dvc.yaml, but not in the commit")


def test_metrics_written_by_hand_are_a_failure(project, capsys):
    path = project / "metrics" / "matching.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"accuracy": 0.6', '"accuracy": 0.99'), encoding="utf-8")
    commit = branches.commit(project, "better than it is")
    assert refusal(capsys) == (
        f"{commit[:9]}: dvc.lock does not match the code: evaluate@matching would run in a clean clone; run dvc repro "
        "and commit dvc.lock with its metrics"
    )


def test_code_that_the_lock_does_not_know_is_a_failure(project, capsys):
    (project / "stage.py").write_text(branches.STAGE + "\n# edited\n", encoding="utf-8")
    branches.commit(project, "edited")
    assert "dvc.lock does not match the code: ingest would run in a clean clone" in refusal(capsys)


def test_a_stale_base_is_warned_of_so_that_a_branch_can_mend_it(project, capsys):
    branches.run(project, "git", "checkout", "--quiet", "main")
    (project / "stage.py").write_text(branches.STAGE + "\n# edited\n", encoding="utf-8")
    branches.commit(project, "edited")
    branches.run(project, "git", "checkout", "--quiet", "change")
    text = report(capsys)
    assert "> [!WARNING]\n> main: dvc.lock does not match the code, at least `ingest` would run.\n" in text


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("dvc.yaml", "stages: [", "HEAD: dvc repro --dry: './dvc.yaml' is invalid."),
        ("dvc.yaml", "stages: {one: {foreach: '${none}', do: {cmd: x}}}", "Could not find 'none'"),
        ("dvc.lock", "stages: [", "HEAD: dvc repro --dry: './dvc.lock' is invalid."),
        ("metrics/timing/matching.json", "{", "metrics/timing/matching.json: unable to read"),
    ],
)
def test_a_broken_file_is_a_failure(project, capsys, file, content, message):
    branches.write(project, {file: content})
    branches.commit(project, "broken")
    assert message in refusal(capsys)


def test_a_graph_without_metrics_is_a_failure(project, capsys):
    branches.write(project, {"dvc.yaml": "params:\n  - params.yaml\n"})
    branches.commit(project, "nothing is measured")
    assert refusal(capsys, "--base", "HEAD") == "HEAD: dvc.yaml declares no metrics: there is nothing to compare"


def test_an_unknown_revision_is_a_failure_that_names_the_fetch(project, capsys):
    assert refusal(capsys, "--base", "nain") == (
        "nain: no such revision in this clone; fetch it first: "
        "git fetch --depth=1 origin +refs/heads/nain:refs/remotes/origin/nain"
    )


def test_a_shallow_clone_needs_the_named_fetch_alone_and_says_what_its_cache_lacks(made, tmp_path, monkeypatch, capsys):
    clone = tmp_path / "clone"
    branches.run(tmp_path, "git", "clone", "--quiet", "--depth=1", "--branch=change", made.as_uri(), str(clone))
    monkeypatch.chdir(clone)
    fetch = refusal(capsys, "--base", "main").split("fetch it first: ")[1].split()
    assert fetch[:2] == ["git", "fetch"]
    branches.run(clone, *fetch)
    text = report(capsys, "--base", "main")
    assert "| `matching: accuracy` | 0.75 | 0.6 | −0.15 |" in text
    predictions, roc = (f"`reports/evaluation/matching/{name}`" for name in ("predictions.jsonl", "roc.csv"))
    lacking = "not in DVC's cache here"
    assert f"Not compared, {predictions} cannot be had. main: {lacking}; this branch: {lacking}." in text
    assert f"Matching, ROC: not drawn. {roc} of main: {lacking}; {roc} of this branch: {lacking}." in text


def test_a_folder_that_is_no_repository_is_a_failure(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert refusal(capsys) == f"{tmp_path}: not the root of a git repository"
