"""Runs a command and ends all of it when asked to, or when the process that started this one is no more.

A flow that is killed outright (SIGKILL, out of memory) cannot end what it started, and ``dvc`` starts a shell that
starts a stage that starts workers. So commands run below this guard, which holds a pipe from the flow on its standard
input: at the pipe's end the flow is gone, however it went, and the guard ends the command's whole process group.

Run as a file of its own, by ``flows.commands``; it imports nothing but the standard library, to start in milliseconds.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from types import FrameType

GRACE_S = 5.0
"""Between asking a group to end (SIGTERM) and ending it (SIGKILL)."""


def main() -> int:
    """Run ``sys.argv[1:]`` in a session of its own; its exit status, or 128 + the signal that ended it."""
    # A signal wakes the select below through this pipe; no work is done in the handler itself.
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, _ignore)
    try:
        child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        sys.stderr.write(f"error: {sys.argv[1]}: {error.strerror}\n")
        return 127
    while child.poll() is None:
        readable, _, _ = select.select([awake, sys.stdin], [], [])
        if sys.stdin in readable and not os.read(sys.stdin.fileno(), 1):
            break
        if awake in readable and set(os.read(awake, 64)) & {signal.SIGTERM, signal.SIGINT}:
            break
    end(child.pid)
    status = child.wait()
    return status if status >= 0 else 128 - status


def _ignore(number: int, frame: FrameType | None) -> None:
    """Only so that the signal does not end this process."""


def end(group: int, grace_s: float = GRACE_S) -> None:
    """End every process of ``group``: those that outlive their leader, too."""
    deadline = time.monotonic() + grace_s
    for number in (signal.SIGTERM, signal.SIGKILL):
        while alive(group):
            try:
                os.killpg(group, number)
            except ProcessLookupError:
                return
            if number == signal.SIGTERM:
                _wait(group, deadline)
                break
            time.sleep(0.01)


def _wait(group: int, deadline: float) -> None:
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.02)


def alive(group: int) -> bool:
    """Whether a process of ``group`` still runs; one that is dead and not yet waited for does not."""
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - pathlib takes longer to import than this file to run
    except OSError:  # no Linux: the unwaited dead count as alive until they are waited for
        return _answers(group)
    for name in filter(str.isdigit, names):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                state, _, of_group = file.read().rpartition(")")[2].split()[:3]
        except OSError:  # it ended meanwhile
            continue
        if int(of_group) == group and state != "Z":
            return True
    return False


def _answers(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
