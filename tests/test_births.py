"""A process is known again by its birth, whatever the wall clock says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows.processes import Process
from vlp import births


def test_a_step_of_the_clock_makes_no_other_process(monkeypatch):
    process = Process(os.getpid(), births.of(os.getpid()), "http://127.0.0.1:1", "log")
    assert process.alive()
    monkeypatch.setattr(psutil, "boot_time", lambda: 0.0)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: 12345.6)
    assert process.alive()


def test_a_record_of_an_earlier_version_is_known_by_the_time():
    began = psutil.Process().create_time()
    assert Process(os.getpid(), began, "", "").alive()
    assert not Process(os.getpid(), began - 1, "", "").alive()


def test_another_process_of_the_same_id_is_another():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert births.of(other.pid) != births.of(os.getpid())
        assert not Process(other.pid, births.of(os.getpid()), "", "").alive()
        other.communicate(b"\n")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no Linux")
def test_a_process_that_is_gone_or_merely_unwaited_for_is_not_alive():
    with subprocess.Popen([sys.executable, "-c", ""]) as other:
        record = Process(other.pid, births.of(other.pid), "", "")
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert not record.alive()
    with pytest.raises(psutil.NoSuchProcess):
        births.of(other.pid)
    assert not record.alive()
