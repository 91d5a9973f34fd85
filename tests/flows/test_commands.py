"""Commands below the guard: their lines, their end, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import commands, guard
from flows.commands import CommandError

PROJECT = Path(__file__).resolve().parent.parent.parent
# A shell that starts a child which outlives it, as dvc starts a stage; both say who they are.
FAMILY = ["sh", "-c", "sleep 60 & echo $! $$; wait"]


def wait_until(true, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_lines_of_both_streams_come_in_order_and_as_they_are_said(tmp_path):
    heard = []
    said = commands.run(["sh", "-c", "echo one; echo two >&2; sleep 0.3; echo three"], tmp_path, heard.append)
    assert said.splitlines() == heard == ["one", "two", "three"]


def test_a_failure_tells_its_status_and_last_line(tmp_path):
    with pytest.raises(CommandError, match=r"status 3: error: caption 4 is empty") as caught:
        commands.run(["sh", "-c", "echo begin; echo 'error: caption 4 is empty'; exit 3"], tmp_path)
    assert caught.value.output == "begin\nerror: caption 4 is empty"
    with pytest.raises(CommandError, match="no-such-program"):
        commands.run(["no-such-program"], tmp_path)


@pytest.mark.parametrize(
    ("said", "transient"),
    [
        ("ERROR: Unable to acquire lock. Most likely another DVC process is running", True),
        ("error: [Errno 110] Connection timed out", True),
        ("requests.exceptions.ConnectionError: Connection reset by peer", True),
        ("error: 12 critical expectations failed, see reports/validation.html", False),
        ("error: [Errno 2] No such file or directory: 'pairs.csv'", False),
        ("error: [Errno 28] No space left on device", False),
        ("ValueError: params.yaml: pretrain.steps: unknown key", False),
    ],
)
def test_only_what_may_pass_is_worth_a_retry(said, transient):
    assert CommandError(["dvc"], 1, said).transient is transient


def test_an_interrupted_wait_ends_the_whole_family(tmp_path):
    family: list[int] = []

    def interrupt(line: str) -> None:
        family.extend(map(int, line.split()))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commands.run(FAMILY, tmp_path, interrupt)
    assert len(family) == 2
    assert not [pid for pid in family if running(pid)]


def test_what_a_command_leaves_in_the_background_ends_with_it(tmp_path):
    pid = int(commands.run(["sh", "-c", "sleep 60 & echo $!"], tmp_path))
    assert not running(pid)


def test_a_group_that_will_not_end_is_ended():
    child = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.1; done"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    guard.end(child.pid, grace_s=0.3)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()


def test_a_killed_parent_leaves_no_process(tmp_path):
    code = (
        "from pathlib import Path; from flows import commands\n"
        f"commands.run({FAMILY!r}, Path('.'), lambda line: print(line, flush=True))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ["PYTHONPATH"]])}
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    family = list(map(int, parent.stdout.readline().split()))
    assert len(family) == 2
    assert all(map(running, family))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not any(map(running, family)))


def test_stages_get_no_secret_and_no_line_shows_one(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_TOKEN", "planted-0123456789")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-of-a-remote")
    monkeypatch.setenv("PLAIN", "seen")
    said = commands.run(["sh", "-c", "echo [$SOME_API_TOKEN] [$AWS_SECRET_ACCESS_KEY] [$PLAIN]"], tmp_path)
    assert said == "[] [•••] [seen]"
    with pytest.raises(CommandError) as caught:
        commands.run(["sh", "-c", "echo $AWS_SECRET_ACCESS_KEY; exit 1"], tmp_path)
    assert "planted" not in str(caught.value) + caught.value.output
