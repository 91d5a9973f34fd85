"""Hashes of folders: of names and contents, nothing else; and DVC's own."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from vlp.export import lineage
from vlp.runtime.bundle import BundleError


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


FILES = {"b.txt": "two", "a/z.txt": "one", "a.txt": "three", "a-b/c.txt": ""}


def test_a_folder_is_known_by_names_and_contents_and_not_by_place_or_order(tmp_path: Path) -> None:
    known = lineage.hash_folder(write(tmp_path / "here", FILES))
    assert lineage.hash_folder(write(tmp_path / "there", dict(reversed(FILES.items())))) == known
    assert lineage.hash_folder(write(tmp_path / "content", {**FILES, "b.txt": "2"})) != known
    assert lineage.hash_folder(write(tmp_path / "name", {"c.txt": "two", "a/z.txt": "one"})) != known


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="prepared: missing or empty"):
        lineage.hash_folder(tmp_path / "prepared")


def test_the_record_names_data_models_and_libraries(tmp_path: Path) -> None:
    prepared, model = write(tmp_path / "prepared", {"x": "1"}), write(tmp_path / "matching", {"y": "2"})
    record = lineage.of_content(prepared, [model])
    assert record["data"] == lineage.hash_folder(prepared)
    assert record["models"] == {"matching": lineage.hash_folder(model)}
    assert record["libraries"]["torch"] == version("torch")


@pytest.mark.slow
def test_the_folder_hash_is_the_one_that_dvc_writes(tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle", FILES)
    for command in (["dvc", "init", "--no-scm", "-q"], ["dvc", "add", "-q", "bundle"]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    written = YAML(typ="safe", pure=True).load((tmp_path / "bundle.dvc").read_text())["outs"][0]["md5"]
    assert lineage.dvc_hash(folder) == written
