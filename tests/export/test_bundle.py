"""Writing a bundle, and sealing it with the commit that it came from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from support.bundles import png, write_prepared, write_toy_bundle
from support.requests import LIMITS
from vlp.drift import reference
from vlp.drift.comparison import compare
from vlp.export import bundle, lineage
from vlp.runtime.bundle import BundleError, read
from vlp.runtime.predictor import Predictor


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    write_toy_bundle(root / "bundle", root / "work")
    return root / "bundle"


def git(project: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "init.defaultBranch=main"]
    command = ["git", "-C", str(project), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A repository whose committed dvc.lock lists the bundle in models/bundle."""
    project = tmp_path / "project"
    shutil.copytree(made, project / "models" / "bundle")
    lock = {"schema": "2.0", "stages": {"export": {"cmd": "x", "outs": [{"md5": lineage.dvc_hash(made)}]}}}
    (project / "dvc.lock").write_text(json.dumps(lock))  # JSON is YAML
    git(project, "init", "-q")
    git(project, "add", "dvc.lock")
    git(project, "commit", "-q", "-m", "run")
    return project


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_contents_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    write_toy_bundle(tmp_path / "bundle", tmp_path / "work")
    assert contents(tmp_path / "bundle") == contents(made)


def test_small_parameters_are_not_rounded_away(made: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "bundle").mkdir()
    parts = bundle.Contents(
        tasks={}, tokenizer=tmp_path / "tokenizer.json", params={"rate": 1e-9}, metrics={}, lineage={}
    )
    bundle.write(tmp_path / "bundle", parts)
    assert json.loads((tmp_path / "bundle" / "params.json").read_text()) == {"rate": 1e-9}


def test_the_record_of_what_it_was_made_of_includes_the_parameters(made: Path) -> None:
    record = json.loads((made / "lineage.json").read_text())
    assert record == {"data": "0" * 64, "params": read(made).files["params.json"]["sha256"]}


@pytest.mark.parametrize("missing", ["tokenizer.json", "matching.json"])
def test_an_input_that_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    for name in {"tokenizer.json", "matching.json"} - {missing}:
        (tmp_path / name).write_text("{}")
    (tmp_path / "bundle").mkdir()
    parts = bundle.Contents(
        tasks={},
        tokenizer=tmp_path / "tokenizer.json",
        params={},
        metrics={"matching": tmp_path / "matching.json"},
        lineage={},
    )
    with pytest.raises(BundleError, match=f"{missing}: missing"):
        bundle.write(tmp_path / "bundle", parts)


def test_a_sealed_bundle_names_its_commit_and_answers_as_before(project: Path, made: Path, tmp_path: Path) -> None:
    bundle.seal(project / "models" / "bundle", tmp_path / "sealed", project)
    record = json.loads((tmp_path / "sealed" / "lineage.json").read_text())
    assert record["commit"] == git(project, "rev-parse", "HEAD")
    assert len(record["dvc_lock"]) == 64
    assert record["data"] == "0" * 64
    sealed, before = Predictor.open(tmp_path / "sealed"), Predictor.open(made)
    assert sealed.match(png("red"), ["a red circle"]) == before.match(png("red"), ["a red circle"])
    assert contents(project / "models" / "bundle") == contents(made)


def test_sealing_keeps_the_name_and_another_bundle_has_another(project: Path, made: Path, tmp_path: Path) -> None:
    bundle.seal(project / "models" / "bundle", tmp_path / "sealed", project)
    write_toy_bundle(tmp_path / "other", tmp_path / "work", threshold=0.7)
    assert read(tmp_path / "sealed").files["lineage.json"] != read(made).files["lineage.json"]
    assert read(tmp_path / "sealed").name == read(made).name
    assert read(tmp_path / "other").name != read(made).name


def test_the_score_of_a_promoted_bundle_is_compared_with_the_reference(
    project: Path, made: Path, tmp_path: Path
) -> None:
    write_prepared(tmp_path / "prepared", records=40)
    expected = list(reference.build(tmp_path / "prepared", Predictor.open(made, threads=1), LIMITS, seed=7))
    bundle.seal(project / "models" / "bundle", tmp_path / "sealed", project)
    served = [replace(row, bundle=read(tmp_path / "sealed").name, at="2026-07-01T12:00:00") for row in expected]
    assert compare(served, expected, LIMITS).left_out == ()


def test_two_clones_of_a_commit_seal_the_same_bytes(project: Path, made: Path, tmp_path: Path) -> None:
    git(project, "clone", "-q", str(project), str(tmp_path / "clone"))
    bundle.seal(project / "models" / "bundle", tmp_path / "one", project)
    bundle.seal(made, tmp_path / "two", tmp_path / "clone")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_bundle_as_the_cache_hands_it_out_can_be_sealed(project: Path, tmp_path: Path) -> None:
    # DVC links its outs to read-only files of the cache.
    for path in (project / "models" / "bundle").rglob("*"):
        if path.is_file():
            cached = tmp_path / "cache" / path.name
            cached.parent.mkdir(exist_ok=True)
            path.rename(cached)
            cached.chmod(0o444)
            path.symlink_to(cached)
    bundle.seal(project / "models" / "bundle", tmp_path / "sealed", project)
    assert not any(path.is_symlink() for path in (tmp_path / "sealed").rglob("*"))
    read(tmp_path / "sealed")


def test_a_bundle_that_the_commit_does_not_describe_is_not_sealed(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_toy_bundle(other, tmp_path / "work", threshold=0.7)
    with pytest.raises(BundleError, match=r"not what dvc\.lock of commit [0-9a-f]{12} describes"):
        bundle.seal(other, tmp_path / "sealed", project)
    assert not (tmp_path / "sealed").exists()


def test_outside_a_repository_nothing_is_sealed(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "plain").mkdir()
    with pytest.raises(BundleError, match="plain: git rev-parse HEAD failed"):
        bundle.seal(made, tmp_path / "sealed", tmp_path / "plain")


def test_a_damaged_bundle_is_not_sealed(project: Path, tmp_path: Path) -> None:
    (project / "models" / "bundle" / "metrics.json").write_text("{}")
    with pytest.raises(BundleError, match=r"metrics\.json"):
        bundle.seal(project / "models" / "bundle", tmp_path / "sealed", project)
    assert not os.path.lexists(tmp_path / "sealed")
