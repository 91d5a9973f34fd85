"""Data come into a run as they lie in the folder, named by content; the folder itself is only read."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

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


@pytest.mark.parametrize("linked", ["raw", "."])
def test_a_folder_that_would_be_its_own_copy_is_refused_and_keeps_what_it_holds(project, tmp_path, linked):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.jsonl").write_text(pipelines.rows([7000]))
    (project / "data" / "elsewhere").symlink_to((tmp_path / linked).resolve())
    git(project, "add", "--force", "data/elsewhere")
    pipelines.commit(project)
    with worktree(project) as tree, pytest.raises(incoming.UncopiedError, match=r"elsewhere: a run's copy of it would"):
        incoming.bring(tree, "data/elsewhere", update_imports=False)
    assert (tmp_path / "raw" / "a.jsonl").exists()


def test_a_folder_that_may_not_be_changed_is_copied_as_one_that_may(project):
    inner = project / FOLDER / "images" / "inner"
    inner.mkdir(parents=True)
    (inner / "a.png").write_bytes(b"picture")
    for folder in (inner, inner.parent):
        folder.chmod(0o555)
    try:
        with worktree(project) as tree:
            incoming.bring(tree, FOLDER, update_imports=False)
            copies = [tree.folder / FOLDER / "images", tree.folder / FOLDER / "images" / "inner"]
            assert [path.stat().st_mode & 0o777 for path in copies] == [0o755, 0o755]
        assert not tree.folder.exists()
        assert inner.stat().st_mode & 0o777 == 0o555
    finally:
        for folder in (inner.parent, inner):
            folder.chmod(0o755)


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


@pytest.mark.slow
def test_what_dvc_ignores_is_left_out_by_name_and_stops_nothing(project):
    folder = project / FOLDER
    (project / ".dvcignore").write_text("runs\n*~\n.DS_Store\n")
    pipelines.commit(project)
    (folder / "first.jsonl~").write_text("an editor's")
    (folder / ".#first.jsonl").symlink_to("somebody@somewhere")
    (folder / "images").mkdir()
    (folder / "images" / "a.png").write_bytes(b"picture")
    (folder / "images" / ".DS_Store").write_bytes(b"a desktop's")
    left_out: list[str] = []
    with worktree(project) as tree:
        first = incoming.bring(tree, FOLDER, False, left_out.append)
        assert sorted(path.name for path in (tree.folder / FOLDER).glob("*.dvc")) == ["first.jsonl.dvc", "images.dvc"]
    assert left_out == (told := [".#first.jsonl: a link to nowhere", "first.jsonl~: .dvcignore names it"])
    # The folder's own rules are no data: they change what is.
    (folder / ".dvcignore").write_text("images\n")
    with worktree(project) as tree:
        assert incoming.bring(tree, FOLDER, False, left_out.append) != first
        assert [path.name for path in (tree.folder / FOLDER).glob("*.dvc")] == ["first.jsonl.dvc"]
    assert left_out == [*told, *told, "images: .dvcignore names it"]
    (folder / ".dvcignore").unlink()
    with worktree(project) as tree:
        assert incoming.bring(tree, FOLDER, update_imports=False) == first


@pytest.mark.slow
def test_data_in_the_place_of_an_import_are_taken_once_the_import_is_given_up(project, tmp_path):
    origin, note = tmp_path / "origin.jsonl", project / FOLDER / "origin.jsonl.dvc"
    origin.write_text(pipelines.rows([8000]))
    subprocess.run(["dvc", "import-url", "--quiet", str(origin), f"{FOLDER}/origin.jsonl"], cwd=project, check=True)
    pipelines.commit(project)
    with worktree(project) as tree:
        imported = incoming.bring(tree, FOLDER, update_imports=False)
    mine = project / FOLDER / "origin.jsonl"
    mine.unlink()
    mine.write_text(pipelines.rows([8002]))
    with worktree(project) as tree, pytest.raises(incoming.ReplacedImportError, match=r"remove origin.jsonl.dvc"):
        incoming.bring(tree, FOLDER, update_imports=False)
    note.unlink()
    with worktree(project) as tree:
        assert incoming.bring(tree, FOLDER, update_imports=False) != imported
        assert "r8002" in (tree.folder / FOLDER / "origin.jsonl").read_text()
        assert "deps:" not in (tree.folder / FOLDER / "origin.jsonl.dvc").read_text()


def test_what_is_gone_before_it_is_read_waits_too(project, monkeypatch):
    real = incoming._replace

    def late(source, target):
        source.unlink()
        real(source, target)

    (project / FOLDER / "second.jsonl").write_text(pipelines.rows([7000]))
    monkeypatch.setattr(incoming, "_replace", late)
    with worktree(project) as tree, pytest.raises(incoming.ArrivingError):
        incoming.bring(tree, FOLDER, update_imports=False)


def test_a_note_that_is_gone_before_it_is_read_waits_too(project, monkeypatch):
    real = shutil.copy

    def late(source, target):
        source.unlink()
        return real(source, target)

    monkeypatch.setattr(shutil, "copy", late)
    with worktree(project) as tree, pytest.raises(incoming.ArrivingError):
        incoming.bring(tree, FOLDER, update_imports=False)


def test_a_link_to_nowhere_within_a_folder_is_left_out_and_what_is_no_file_is_named(project):
    folder = project / FOLDER / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"picture")
    (folder / ".#a.png").symlink_to("somebody@somewhere")
    left_out: list[str] = []
    with worktree(project) as tree:
        incoming.bring(tree, FOLDER, False, left_out.append)
        assert [path.name for path in (tree.folder / FOLDER / "images").iterdir()] == ["a.png"]
    assert left_out == ["images/.#a.png: a link to nowhere"]
    os.mkfifo(folder / "pipe")
    with (
        worktree(project) as tree,
        pytest.raises(incoming.UncopiedError, match=r"images/pipe.* is a named pipe; mend it"),
    ):
        incoming.bring(tree, FOLDER, update_imports=False)


def test_data_that_wait_for_a_person_are_no_news_and_no_conclusion(tmp_path):
    incoming.remember(tmp_path, "first", "content", "promoted")
    assert incoming.is_news(tmp_path, "second")
    assert incoming.tried(tmp_path, "second") == 1
    incoming.wait(tmp_path, "second")
    assert not any(incoming.is_news(tmp_path, each) for each in ("first", "second", incoming.EMPTY))
    known = incoming.seen(tmp_path)
    assert (known["fingerprint"], known["content"], known["outcome"]) == ("first", "content", "promoted")
    assert incoming.tried(tmp_path, "second") == 2
    assert not incoming.is_news(tmp_path, "second")
    incoming.remember(tmp_path, "second", "other", "refused")
    assert incoming.is_news(tmp_path, "third")


def test_a_link_to_nowhere_is_no_file(tmp_path):
    (tmp_path / ".#open").symlink_to("nobody@nowhere")
    assert incoming.fingerprint(tmp_path) == incoming.EMPTY


def test_what_lies_behind_a_link_to_a_folder_counts(tmp_path):
    folder, usb = tmp_path / "incoming", tmp_path / "usb"
    for each in (folder, usb):
        each.mkdir()
    (folder / "images").symlink_to(usb)
    (folder / "again").symlink_to(usb)
    assert incoming.fingerprint(folder) == incoming.EMPTY
    (usb / "a.png").write_bytes(b"picture")
    both = incoming.fingerprint(folder)
    assert both != incoming.EMPTY
    (folder / "again").unlink()
    assert incoming.fingerprint(folder) not in (both, incoming.EMPTY)


@pytest.mark.parametrize("call", ["listdir", "stat"])
def test_what_may_not_be_read_is_news_and_is_named(project, monkeypatch, call):
    """Root may read everything: so the refusal that others get is made by hand."""
    folder = project / FOLDER / "images"
    folder.mkdir()
    refused = folder if call == "listdir" else folder / "a.png"
    before = incoming.fingerprint(project / FOLDER)
    (folder / "a.png").write_bytes(b"picture")
    room = os if call == "listdir" else Path
    real = getattr(room, call)

    def refuse(path, *given, **named):
        if Path(path) == refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *given, **named)

    monkeypatch.setattr(room, call, refuse)
    assert incoming.fingerprint(project / FOLDER) != before
    with worktree(project) as tree, pytest.raises(incoming.UncopiedError, match=f"Permission denied: '{refused}'"):
        incoming.bring(tree, FOLDER, update_imports=False)


def test_a_link_to_a_folder_that_it_is_in_is_no_endless_one_and_is_named(project):
    folder = project / FOLDER / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"picture")
    before = incoming.fingerprint(project / FOLDER)
    (folder / "up").symlink_to(folder)
    assert incoming.fingerprint(project / FOLDER) != before
    with (
        worktree(project) as tree,
        pytest.raises(incoming.UncopiedError, match=r"that it is in: .*images/up'; mend it"),
    ):
        incoming.bring(tree, FOLDER, update_imports=False)


def test_a_name_that_is_not_utf8_is_news_and_is_named(project):
    folder = project / FOLDER / "images"
    folder.mkdir()
    before = incoming.fingerprint(project / FOLDER)
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")).write_bytes(b"picture")
    assert incoming.fingerprint(project / FOLDER) != before
    with worktree(project) as tree, pytest.raises(incoming.UncopiedError, match=r"not UTF-8: '.*/caf\\udce9\.png'"):
        incoming.bring(tree, FOLDER, update_imports=False)


@pytest.mark.slow
def test_data_that_only_a_note_names_come_from_the_cache_or_are_missed(project, tmp_path):
    origin, note = tmp_path / "origin.jsonl", project / FOLDER / "origin.jsonl.dvc"
    origin.write_text(pipelines.rows([8000]))
    subprocess.run(["dvc", "import-url", "--quiet", str(origin), f"{FOLDER}/origin.jsonl"], cwd=project, check=True)
    pipelines.commit(project)
    mine = project / FOLDER / "origin.jsonl"
    mine.unlink()
    mine.write_text(pipelines.rows([8002]))
    subprocess.run(["dvc", "add", "--quiet", str(mine)], cwd=project, check=True)
    assert "deps:" in note.read_text(), "DVC still calls it an import"
    with worktree(project) as tree:
        incoming.bring(tree, FOLDER, update_imports=False)
        assert "r8002" in (tree.folder / FOLDER / "origin.jsonl").read_text(), "not the commit's"
    mine.unlink()
    shutil.rmtree(project / ".dvc" / "cache")
    (project / FOLDER / "first.jsonl.dvc").unlink()  # these lie in the folder as they are
    with worktree(project) as tree, pytest.raises(incoming.MissingDataError, match=r"dvc fetch .*origin.jsonl.dvc"):
        incoming.bring(tree, FOLDER, update_imports=False)


@pytest.mark.slow
def test_an_imports_data_that_only_lie_in_the_folder_are_put_into_the_cache_by_the_command_that_is_told(
    project, tmp_path
):
    origin, note = tmp_path / "origin.jsonl", f"{FOLDER}/origin.jsonl.dvc"
    origin.write_text(pipelines.rows([8000]))
    subprocess.run(["dvc", "import-url", "--quiet", str(origin), f"{FOLDER}/origin.jsonl"], cwd=project, check=True)
    pipelines.commit(project)
    shutil.rmtree(project / ".dvc" / "cache")
    with worktree(project) as tree, pytest.raises(incoming.MissingDataError) as told:
        incoming.bring(tree, FOLDER, update_imports=False)
    assert f"dvc commit --force {note}" in str(told.value)
    subprocess.run(["dvc", "commit", "--quiet", "--force", note], cwd=project, check=True)
    with worktree(project) as tree:
        incoming.bring(tree, FOLDER, update_imports=False)
        assert "r8000" in (tree.folder / FOLDER / "origin.jsonl").read_text()
