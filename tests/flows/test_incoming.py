"""Data come into a run as they lie in the folder, named by content; the folder itself is only read."""

from __future__ import annotations

import os
import subprocess

import pytest

from flows import incoming
from flows.worktree import git, worktree
from support import pipelines

FOLDER = "data/incoming"


def test_a_fingerprint_changes_with_every_file_that_is_written(tmp_path):
    assert incoming.fingerprint(tmp_path) == incoming.EMPTY
    (tmp_path / ".gitkeep").touch()
    assert incoming.fingerprint(tmp_path) == incoming.EMPTY
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a").write_text("a")
    first = incoming.fingerprint(tmp_path)
    assert first == incoming.fingerprint(tmp_path) != incoming.EMPTY
    os.utime(tmp_path / "images" / "a", ns=(1, 1))
    assert incoming.fingerprint(tmp_path) != first


@pytest.mark.slow
def test_new_changed_and_removed_entries_come_along_and_the_folder_stays_as_it_is(project):
    folder = project / FOLDER
    with worktree(project) as tree:
        same = incoming.bring(tree, FOLDER, update_imports=False)
        assert git(tree.folder, "status", "--porcelain") == ""
    (folder / "second.jsonl").write_text(pipelines.rows([7000]))
    (folder / "images").mkdir()
    (folder / "images" / "a.png").write_bytes(b"picture")
    (folder / "first.jsonl").unlink()
    (folder / "first.jsonl.dvc").unlink()
    before = incoming.fingerprint(folder)
    with worktree(project) as tree:
        other = incoming.bring(tree, FOLDER, update_imports=False)
        changed = git(tree.folder, "status", "--porcelain").split()
        assert changed == [
            "D",
            f"{FOLDER}/first.jsonl.dvc",
            "??",
            f"{FOLDER}/images.dvc",
            "??",
            f"{FOLDER}/second.jsonl.dvc",
        ]
        assert sorted(path.name for path in (tree.folder / FOLDER).glob("*.jsonl")) == ["second.jsonl"]
    assert other != same
    assert incoming.fingerprint(folder) == before
    assert os.access(folder / "images" / "a.png", os.W_OK)
    assert (folder / "images" / "a.png").stat().st_mode & 0o200


@pytest.mark.slow
def test_the_content_is_what_counts_and_not_the_time(project):
    with worktree(project) as tree:
        first = incoming.bring(tree, FOLDER, update_imports=False)
    text = (project / FOLDER / "first.jsonl").read_text()
    (project / FOLDER / "first.jsonl").unlink()
    (project / FOLDER / "first.jsonl").write_text(text)
    with worktree(project) as tree:
        assert incoming.bring(tree, FOLDER, update_imports=False) == first


@pytest.mark.slow
def test_an_import_is_updated_when_it_is_asked_for(project, tmp_path):
    origin = tmp_path / "origin.jsonl"
    origin.write_text(pipelines.rows([8000]))
    subprocess.run(["dvc", "import-url", "--quiet", str(origin), f"{FOLDER}/origin.jsonl"], cwd=project, check=True)
    pipelines.commit(project)
    with worktree(project) as tree:
        first = incoming.bring(tree, FOLDER, update_imports=True)
    origin.write_text(pipelines.rows([8000, 8001]))
    with worktree(project) as tree:
        assert incoming.bring(tree, FOLDER, update_imports=False) == first
    with worktree(project) as tree:
        assert incoming.bring(tree, FOLDER, update_imports=True) != first
        assert "r8001" in (tree.folder / FOLDER / "origin.jsonl").read_text()


def test_what_is_still_being_copied_waits(project, monkeypatch):
    real = incoming._replace

    def slow(source, target):
        real(source, target)
        with (project / FOLDER / "first.jsonl").open("a") as file:
            file.write("\n")

    (project / FOLDER / "second.jsonl").write_text(pipelines.rows([7000]))
    monkeypatch.setattr(incoming, "_replace", slow)
    with worktree(project) as tree, pytest.raises(incoming.ArrivingError, match="the next run will take it"):
        incoming.bring(tree, FOLDER, update_imports=False)
