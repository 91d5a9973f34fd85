from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vlp.commands import CommandError, environment, output


def test_a_command_says_what_it_says(tmp_path):
    assert output(tmp_path, sys.executable, "-c", "import os; print(os.getcwd())").strip() == str(tmp_path)


def test_a_command_that_fails_is_one_line_with_both_streams_kept(tmp_path):
    code = "import sys; print('out'); sys.exit('first\\nsecond')"
    with pytest.raises(CommandError) as failed:
        output(tmp_path, sys.executable, "-c", code)
    assert str(failed.value).endswith("first second (status 1)")
    assert (failed.value.stdout, failed.value.stderr) == ("out\n", "first\nsecond\n")


def test_this_interpreters_commands_come_first():
    found = environment(VLP_TEST="1")
    assert found["PATH"].startswith(str(Path(sys.executable).parent))
    assert found["VLP_TEST"] == "1"
