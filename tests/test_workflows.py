"""GitHub's workflows: what they may do, what they run, and that their scripts do what they say."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import branches
from support.graph import load_yaml
from vlp.report.page import MARKER

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = PROJECT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


def jobs(path: Path) -> dict[str, Any]:
    return load_yaml(path)["jobs"]


def scripts(path: Path) -> Iterator[tuple[str, str]]:
    for name, job in jobs(path).items():
        for step in job.get("steps", ()):
            if "run" in step:
                yield f"{name}: {step.get('name')}", step["run"]


def script(file: str, job: str, step: str) -> str:
    (found,) = [each["run"] for each in jobs(FOLDER / file)[job]["steps"] if each.get("name") == step]
    return found


@pytest.mark.house
def test_there_is_a_workflow_for_tests_pull_requests_and_releases():
    assert {path.stem for path in FILES} >= {"test", "pull-request", "release"}


@pytest.mark.house
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_commit_and_names_its_version(path):
    used = re.findall(r"uses:\s*(\S+)(.*)", path.read_text(encoding="utf-8"))
    for action, comment in used:
        if action.startswith("./"):
            assert (PROJECT / action).is_file(), action
        else:
            assert PINNED.fullmatch(action), action
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{action}: which version?"


@pytest.mark.house
def test_one_action_is_one_commit_everywhere():
    used = {action for path in FILES for action in re.findall(r"uses:\s*([^\s.]\S+)", path.read_text(encoding="utf-8"))}
    assert len(used) == len({action.split("@")[0] for action in used}), used


@pytest.mark.house
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_workflow_may_more_than_it_needs(path):
    whole = load_yaml(path)
    assert set((whole["permissions"] or {}).values()) <= {"read"}, "writing is a job's own permission"
    may_write = {
        (name, what)
        for name, job in whole["jobs"].items()
        for what, how in (job.get("permissions") or {}).items()
        if how != "read"
    }
    allowed = {"pull-request": {("comment", "pull-requests")}, "release": {("release", "contents")}}
    assert may_write == allowed.get(path.stem, set())
    assert "pull_request_target" not in path.read_text(encoding="utf-8")
    assert "secrets." not in path.read_text(encoding="utf-8")


@pytest.mark.house
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_job_ends_and_no_checkout_keeps_a_token(path):
    for name, job in jobs(path).items():
        assert "timeout-minutes" in job or "uses" in job, name
        for step in job.get("steps", ()):
            if str(step.get("uses", "")).startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name


@pytest.mark.house
def test_no_code_of_a_pull_request_runs_where_a_token_may_write():
    comment = jobs(FOLDER / "pull-request.yml")["comment"]
    assert not [step for step in comment["steps"] if "uses" in step], "nothing is checked out"


@pytest.mark.house
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scripts_are_valid_and_take_what_others_write_from_the_environment_alone(path):
    for name, text in scripts(path):
        assert "${{" not in text, f"{name}: an expression in a script can be an injection"
        checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, f"{name}: {checked.stderr}"


def run(text: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A step's script as GitHub runs it."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text]
    return subprocess.run(command, cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False)


def files(folder: Path) -> dict[str, str]:
    return {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_STEP_SUMMARY": str(folder / "summary")}


def test_a_report_that_cannot_be_made_fails_the_job_and_the_comment_says_why(tmp_path):
    branches.write(tmp_path, {".dvc/config": ""})
    branches.run(tmp_path, "git", "init", "--quiet")
    step = script("pull-request.yml", "report", "Report")
    done = run(step, tmp_path, BASE="main", **files(tmp_path))
    assert done.returncode == 1, done.stderr
    name, _, value = (tmp_path / "output").read_text(encoding="utf-8").strip().partition("=")
    comment = base64.b64decode(value).decode()
    assert name == "report"
    assert comment.startswith(
        f"{MARKER}\n# No report of this branch\n\n```\nerror: main: no such revision in this clone"
    )
    assert (tmp_path / "summary").read_text(encoding="utf-8") == comment


GH = """\
#!/bin/sh
# Stands in for the service that GitHub's own command talks to: keeps what it is sent, lists what it kept.
echo "$@" >> calls
case "$*" in
  *--paginate*) test -f kept && echo 41; exit 0 ;;
  *"--method POST"*|*"--method PATCH"*) cp report.md kept ;;
  *) exit 2 ;;
esac
"""


def test_the_comment_is_made_once_and_then_updated(tmp_path):
    branches.write(tmp_path, {"bin/gh": GH})
    (tmp_path / "bin" / "gh").chmod(0o755)
    step = script("pull-request.yml", "comment", "Comment, or update the comment")
    env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "REPOSITORY": "o/r", "NUMBER": "7", "GH_TOKEN": "t"}
    for text in ("first", "second"):
        report = base64.b64encode(f"{MARKER}\n{text}\n".encode()).decode()
        done = run(step, tmp_path, REPORT=report, **env)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "kept").read_text(encoding="utf-8") == f"{MARKER}\n{text}\n"
    sent = [line for line in (tmp_path / "calls").read_text(encoding="utf-8").splitlines() if "--method" in line]
    assert sent == [
        "api --silent --method POST repos/o/r/issues/7/comments --field body=@report.md",
        "api --silent --method PATCH repos/o/r/issues/comments/41 --field body=@report.md",
    ]


@pytest.mark.house
def test_the_comment_is_found_by_what_every_report_begins_with():
    for job, step in (("comment", "Comment, or update the comment"), ("report", "Report")):
        assert MARKER in script("pull-request.yml", job, step), job
