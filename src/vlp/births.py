"""When a process began, in words that no step of the wall clock changes: ids are used again, births are not.

psutil's time of birth is the time of boot by the wall clock plus the age. Where the clock is set, by NTP or on a
machine that wakes up, the same process then seems to have begun at another time: it would be taken for dead, and
started a second time beside itself.
"""

from __future__ import annotations

from pathlib import Path

import psutil

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def of(pid: int) -> str:
    """The birth of the process ``pid``: on Linux the boot's id and the clock ticks since, elsewhere the time.

    Raises:
        psutil.NoSuchProcess: there is no such process.
    """
    try:
        boot = _BOOT.read_text(encoding="ascii").strip()
    except FileNotFoundError:  # no Linux
        return f"{psutil.Process(pid).create_time():.2f}"
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    # Behind the name, which may hold anything: state is the third field, the start the 22nd (man 5 proc).
    return f"{boot} {stat.rpartition(')')[2].split()[19]}"
