from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from vlp.stages.base import run


def fail_with(error: BaseException):
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("params.yaml: seed: missing"), "error: params.yaml: seed: missing\n"),
        (
            FileNotFoundError(2, "No such file or directory", "pairs.csv"),
            "error: [Errno 2] No such file or directory: 'pairs.csv'\n",
        ),
    ],
)
def test_a_mistake_of_the_user_is_one_line_and_status_1(error, line, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(fail_with(error))
    assert stopped.value.code == 1
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("error", [KeyError("image"), AssertionError("unreachable"), ZeroDivisionError()])
def test_a_defect_of_the_software_propagates(error):
    with pytest.raises(type(error)):
        run(fail_with(error))


def test_a_main_that_succeeds_returns():
    done = []
    run(lambda: done.append(True))
    assert done == [True]


def test_our_log_goes_to_standard_error_and_others_speak_only_to_warn():
    code = (
        "import logging; from vlp.stages.base import run\n"
        "def main():\n"
        "    for name in ('vlp.x', '__main__', 'other'):\n"
        "        logging.getLogger(name).info('told by %s', name)\n"
        "    logging.getLogger('other').warning('warned')\n"
        "run(main)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout == ""
    assert child.stderr == "INFO: told by vlp.x\nINFO: told by __main__\nWARNING: warned\n"


@pytest.mark.slow
def test_a_stage_that_fails_says_its_error_and_no_more(tmp_path: Path):
    command = [sys.executable, "-m", "vlp.stages.finetune", "matching"]
    child = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert child.returncode == 1
    (line,) = child.stderr.splitlines()
    assert line.startswith("error: ")


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
