"""Which bundle `make serve` takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows import champion
from flows.registry import Registry, Version
from flows.serving import Site

ROOT = Path(__file__).resolve().parent.parent.parent


def test_before_the_first_promotion_it_is_the_newest_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "champion", lambda self: None)
    assert champion.bundle(ROOT) == ROOT / "models" / "bundle"


def test_afterwards_it_is_the_sealed_one_of_the_version_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[tuple[str, str]] = []

    def unpack(site: Site, version: str, commit: str) -> Path:
        unpacked.append((version, commit))
        return site.folder / "versions" / version

    monkeypatch.setattr(Registry, "champion", lambda self: Version("v0.2.0", "c0ffee"))
    monkeypatch.setattr(Site, "unpack", unpack)
    assert champion.bundle(ROOT) == ROOT / "runs" / "serving" / "versions" / "v0.2.0" / "bundle"
    assert unpacked == [("v0.2.0", "c0ffee")]


def test_the_command_prints_one_path() -> None:
    command = [sys.executable, "-m", "flows.champion"]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(child.stdout.strip()).name == "bundle"
