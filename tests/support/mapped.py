"""Functions that a process of its own can import: what a test module defines, it cannot."""

from __future__ import annotations

import os
import time
from pathlib import Path


def double(number: int) -> int:
    return 2 * number


def refuse_fives(number: int) -> int:
    if number == 5:
        raise ValueError("five")
    return number


def process(_: int) -> int:
    return os.getpid()


def stay(folder: Path) -> None:
    """Leave this process's number in ``folder``, as a file's name, and take very long."""
    (folder / str(os.getpid())).touch()
    time.sleep(600)
