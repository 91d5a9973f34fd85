"""The number of threads follows what the container grants, not what the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vlp.runtime.threads import usable_processors


@pytest.fixture(autouse=True)
def _eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.mark.parametrize(
    ("limit", "threads"), [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("max 100000", 8)]
)
def test_version_two_quota(tmp_path: Path, limit: str, threads: int) -> None:
    write(tmp_path / "membership", "0::/service\n")
    write(tmp_path / "fs/service/cpu.max", limit + "\n")
    assert usable_processors(tmp_path / "fs", tmp_path / "membership") == threads


def test_the_tightest_parent_holds(tmp_path: Path) -> None:
    write(tmp_path / "membership", "0::/pod/container\n")
    write(tmp_path / "fs/pod/container/cpu.max", "max 100000")
    write(tmp_path / "fs/pod/cpu.max", "300000 100000")
    assert usable_processors(tmp_path / "fs", tmp_path / "membership") == 3


@pytest.mark.parametrize(("quota", "threads"), [("400000", 4), ("-1", 8)])
def test_version_one_quota(tmp_path: Path, quota: str, threads: int) -> None:
    write(tmp_path / "membership", "4:memory:/elsewhere\n3:cpu,cpuacct:/docker/x\n")
    write(tmp_path / "fs/cpu,cpuacct/docker/x/cpu.cfs_quota_us", quota)
    write(tmp_path / "fs/cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000")
    assert usable_processors(tmp_path / "fs", tmp_path / "membership") == threads


def test_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    write(tmp_path / "membership", "0::/a/path/of/the/host\n")
    write(tmp_path / "fs/cpu.max", "200000 100000")
    assert usable_processors(tmp_path / "fs", tmp_path / "membership") == 2


def test_without_control_groups_affinity_decides(tmp_path: Path) -> None:
    assert usable_processors(tmp_path / "fs", tmp_path / "membership") == 8


def test_this_machine_gives_a_number_within_its_own() -> None:
    assert 1 <= usable_processors() <= 8
