from __future__ import annotations

import os
from pathlib import Path

import pytest

from vlp.data.resume import fingerprint, resumable
from vlp.data.split import SplitParams


def fail_after(folder: Path, key: str, *files: str) -> list[str]:
    """What a run finds that then writes ``files`` and fails."""
    with pytest.raises(KeyboardInterrupt), resumable(folder, key) as unfinished:
        found = sorted(path.name for path in unfinished.iterdir() if not path.name.startswith("."))
        for name in files:
            (unfinished / name).write_text("x", encoding="utf-8")
        raise KeyboardInterrupt
    return found


def test_finished_shards_wait_for_the_next_run_and_nothing_looks_finished(tmp_path: Path) -> None:
    out = tmp_path / "data" / "out"
    assert fail_after(out, "key", "a-00000.arrow", "a-00001.arrow.partial") == []
    assert not out.exists()
    with resumable(out, "key") as unfinished:
        assert (unfinished / "a-00000.arrow").read_text(encoding="utf-8") == "x"
    assert [path.name for path in out.iterdir()] == ["a-00000.arrow"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_what_was_made_otherwise_is_not_gone_on_with(tmp_path: Path) -> None:
    fail_after(tmp_path / "out", "one", "a-00000.arrow")
    assert fail_after(tmp_path / "out", "two", "b-00000.arrow") == []


def test_a_folder_that_is_half_removed_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_after(tmp_path / "out", "one", "a-00000.arrow", "a-00001.arrow")

    def killed(folder: Path, **_: object) -> None:
        (folder / "a-00000.arrow").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt), resumable(tmp_path / "out", "two"):
            pass
    assert fail_after(tmp_path / "out", "one", "b-00000.arrow") == []


def test_a_run_that_finished_no_shard_leaves_nothing(tmp_path: Path) -> None:
    fail_after(tmp_path / "out", "key", "a-00000.arrow.partial", "note.json")
    assert list(tmp_path.iterdir()) == []


def test_the_last_result_stands_until_there_is_a_whole_new_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with resumable(out, "one") as unfinished:
        (unfinished / "old.arrow").write_text("", encoding="utf-8")
    fail_after(out, "two", "new.arrow")
    assert [path.name for path in out.iterdir()] == ["old.arrow"]
    with resumable(out, "two"):
        pass
    assert [path.name for path in out.iterdir()] == ["new.arrow"]


def test_parameters_and_files_make_the_key(tmp_path: Path) -> None:
    shares = SplitParams(train=0.6, validation=0.2, test=0.2)
    (tmp_path / "a").write_text("a", encoding="utf-8")
    first = fingerprint(1, shares, folders=(tmp_path,))
    assert fingerprint(1, shares, folders=(tmp_path,)) == first
    assert fingerprint(2, shares, folders=(tmp_path,)) != first
    other = SplitParams(train=0.5, validation=0.3, test=0.2)
    assert fingerprint(1, other, folders=(tmp_path,)) != first
    os.utime(tmp_path / "a", ns=(1, 1))
    assert fingerprint(1, shares, folders=(tmp_path,)) != first
