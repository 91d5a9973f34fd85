"""How many processors this process may really use.

In a container ``os.cpu_count`` is the machine's, and a session with that many threads on two processors'
worth of time is throttled. The limit is the smaller of the affinity mask and the control group's quota.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (``cpu.max``) and
https://docs.kernel.org/scheduler/sched-bwc.html (``cpu.cfs_quota_us``)
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_processors(root: Path = CGROUP_ROOT, membership: Path = MEMBERSHIP) -> int:
    """Whole processors of affinity and quota, at least one.

    Args:
        root: where the control groups are mounted.
        membership: the kernel's list of the groups this process is in.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _folders(root, membership) if (quota := _quota(folder)) is not None]
    return max(1, min([allowed, *(math.ceil(quota) for quota in quotas)]))


def _folders(root: Path, membership: Path) -> list[Path]:
    """The group of this process and all its parents, of version 1 and 2: the tightest quota holds."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:  # no control groups here: another system, or /proc is hidden
        return []
    found: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [root / "cpu", root / "cpu,cpuacct"] if controllers else [root, root / "unified"]
        relative = Path(path.lstrip("/"))
        found += [mount / part for mount in mounts for part in (relative, *relative.parents)]
    return found


def _quota(folder: Path) -> float | None:
    """Processors' worth of time that ``folder`` grants; None where it sets no limit."""
    if (limit := _text(folder / "cpu.max")) is not None:
        granted, _, every = limit.partition(" ")
        return None if granted == "max" else int(granted) / int(every)
    quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    return None if quota is None or period is None or int(quota) < 0 else int(quota) / int(period)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:  # not a limit of this kind, or not ours to read
        return None
