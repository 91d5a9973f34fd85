"""pyproject.toml, the lock, the hooks and the commands agree with each other and with the code."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

pytestmark = pytest.mark.house

PROJECT = Path(__file__).resolve().parent.parent
LOCK = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
TABLE = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = {
    name: [Requirement(line) for line in lines] for name, lines in TABLE["project"]["optional-dependencies"].items()
}
SERVING = [Requirement(line) for line in TABLE["project"]["dependencies"]]


def pins() -> dict[str, list[str]]:
    """Distribution → its pinned versions (several where they differ by platform or Python)."""
    found: dict[str, list[str]] = {}
    for line in LOCK.splitlines():
        if matched := re.match(r"([A-Za-z0-9._-]+)==([^ ;]+)", line):
            found.setdefault(canonicalize_name(matched[1]), []).append(matched[2])
    return found


@pytest.mark.parametrize("requirement", [*SERVING, *(one for extra in EXTRAS.values() for one in extra)], ids=str)
def test_the_lock_pins_each_requirement_inside_its_bounds(requirement):
    versions = pins().get(canonicalize_name(requirement.name))
    assert versions, "not in requirements.lock: make lock"
    assert all(requirement.specifier.contains(version) for version in versions), f"locked {versions}: make lock"


def test_the_lock_names_no_index_and_no_path_and_hashes_everything():
    stanzas = re.split(r"\n(?=\S)", LOCK.strip())
    assert all(re.match(r"[A-Za-z0-9._-]+==\S+", stanza) for stanza in stanzas)
    assert all("--hash=sha256:" in stanza for stanza in stanzas)
    assert not re.search(r"https?:|file:|--(extra-)?index-url|--find-links|^#|/", LOCK, re.MULTILINE)


def test_serving_installs_no_training_and_no_orchestration():
    names = {canonicalize_name(requirement.name) for requirement in SERVING}
    others = {canonicalize_name(one.name) for extra in EXTRAS.values() for one in extra}
    assert not names & others


DECLARED = {canonicalize_name(one.name) for name, extra in EXTRAS.items() if name != "dev" for one in extra}
DECLARED |= {canonicalize_name(one.name) for one in SERVING}
# Distributions that are declared for another reason than an import in CODE.
NOT_IMPORTED = {
    "accelerate": "peft imports it, and it is one way of launching several processes",
    "fastapi": "bounds the version that Prefect's server gets",
    "open-clip-torch": "benchmarks stand beside it",
    "onnxscript": "torch.onnx.export(dynamo=True) imports it",
}


CODE = (PROJECT / "src" / "vlp", PROJECT / "flows", PROJECT / "service")


@cache
def imported() -> dict[str, set[str]]:
    """Distribution → the files of CODE that import it."""
    distributions = packages_distributions()
    found: dict[str, set[str]] = {}
    for path in sorted(path for folder in CODE for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"vlp", "flows", "service"}:
                owners = {canonicalize_name(one) for one in distributions.get(top, [top])}
                for owner in owners & DECLARED or owners:  # `ruamel` is shared by several
                    found.setdefault(owner, set()).add(path.relative_to(PROJECT).as_posix())
    return found


def test_what_the_code_imports_is_declared():
    undeclared = {name: files for name, files in imported().items() if name not in DECLARED}
    assert not undeclared


def test_what_is_declared_is_used():
    assert DECLARED - imported().keys() == NOT_IMPORTED.keys()


def test_hooks_have_the_pins_of_the_lock():
    hooks = YAML(typ="safe").load((PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    wanted = [
        line for repo in hooks["repos"] for hook in repo["hooks"] for line in hook.get("additional_dependencies", [])
    ]
    assert {repo["repo"] for repo in hooks["repos"]} == {"local"}, (
        "a hook from elsewhere needs a pin that this compares"
    )
    assert len(wanted) >= 3
    for line in wanted:
        name, version = line.split("==")
        assert pins()[canonicalize_name(name)] == [version], f".pre-commit-config.yaml: {line}"


def test_a_wheel_holds_every_file_of_the_package(tmp_path):
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(PROJECT / name, tmp_path)
    shutil.copytree(PROJECT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    code = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    child = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("vlp/")}
    files = {path.relative_to(tmp_path / "src").as_posix() for path in (tmp_path / "src").rglob("*") if path.is_file()}
    assert packed == {name for name in files if ".egg-info" not in name}


def test_the_changelog_opens_with_this_version():
    versions = re.findall(
        r"^## \[?(\d+\.\d+\.\d+)", (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert versions[0] == TABLE["project"]["version"]


# Commands


def targets() -> set[str]:
    return set(re.findall(r"^\.PHONY: (\S+)$", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_make_help_shows_every_target():
    child = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert {line.split()[1] for line in child.stdout.splitlines()} == targets()


@pytest.mark.parametrize("name", [".ci/run", ".github/workflows/test.yml", "CONTRIBUTING.md", "README.md"])
def test_commands_in_scripts_and_documents_exist(name):
    text = (PROJECT / name).read_text(encoding="utf-8")
    used = set(re.findall(r"^\s*(?:- run: |run: )?make ([a-z-]+)", text, re.MULTILINE)) | set(
        re.findall(r"`make ([a-z-]+)", text)
    )
    assert used
    assert used <= targets()


def test_telemetry_is_off_in_make_and_in_tests_alike():
    switches = {"DVC_NO_ANALYTICS", "DO_NOT_TRACK", "ITERATIVE_DO_NOT_TRACK", "BENTOML_DO_NOT_TRACK", "HF_HUB_OFFLINE"}
    switches |= {"PREFECT_SERVER_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"}
    for name in ("Makefile", "tests/conftest.py"):
        text = (PROJECT / name).read_text(encoding="utf-8")
        assert not {switch for switch in switches if switch not in text}, name
    assert "analytics = false" in (PROJECT / ".dvc" / "config").read_text(encoding="utf-8")


def test_a_flow_called_by_hand_sends_no_telemetry(tmp_path):
    code = "import os, flows.arrivals\nfrom prefect._internal.analytics.enabled import is_telemetry_enabled\n"
    code += "from prefect.settings import get_current_settings\n"
    code += "print(is_telemetry_enabled(), get_current_settings().server.analytics_enabled, *os.environ)"
    bare = {name: value for name, value in os.environ.items() if "TRACK" not in name and "ANALYTICS" not in name}
    bare = {name: value for name, value in bare.items() if name != "CI"} | {"PREFECT_HOME": str(tmp_path)}
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=bare, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    client, server, *names = child.stdout.split()
    assert (client, server) == ("False", "False")
    assert {"DVC_NO_ANALYTICS", "ITERATIVE_DO_NOT_TRACK", "BENTOML_DO_NOT_TRACK"} <= set(names)


def test_make_works_in_a_folder_with_a_space_in_its_name(tmp_path):
    folder = tmp_path / "a clone"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    for name in ("python", "uv", "ruff", "mypy", "lint-imports", "pytest"):
        command = folder / ".venv" / "bin" / name
        command.write_text(f"#!/bin/sh\necho {name} >> called\n", encoding="utf-8")
        command.chmod(0o755)
    subprocess.run(["make", "check"], cwd=folder, capture_output=True, text=True, check=True)
    called = (folder / "called").read_text(encoding="utf-8").split()
    assert called == ["uv", "uv", "ruff", "ruff", "mypy", "lint-imports", "pytest"]
    assert (folder / ".venv" / ".installed").exists()
    subprocess.run(["make", "clean"], cwd=folder, capture_output=True, check=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a clone"]
