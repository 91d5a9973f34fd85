from __future__ import annotations

import pytest

from vlp import plugins


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """A package of two plug-ins, a contract and a private file."""
    folder = tmp_path / f"shapes_{tmp_path.name}"  # a module is imported once a process
    folder.mkdir()
    for name in ("__init__", "round", "square", "base", "_shared"):
        (folder / f"{name}.py").write_text(f"NAME = {name!r}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_the_files_are_the_names_but_for_the_contract_and_private_ones(shapes):
    assert plugins.names(shapes) == ["round", "square"]


def test_a_plugin_is_found_by_its_file_name(shapes):
    assert plugins.find(shapes, "square").NAME == "square"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("squar", "did you mean 'square'? there is round, square"),
        ("base", "there is round, square"),
        ("", "there is round"),
    ],
)
def test_an_unknown_name_lists_what_there_is(shapes, name, hint):
    with pytest.raises(plugins.UnknownPluginError) as refused:
        plugins.find(shapes, name)
    assert f"no plug-in {name!r}" in str(refused.value)
    assert hint in str(refused.value)


def test_a_name_never_leads_out_of_the_folder(shapes):
    with pytest.raises(plugins.UnknownPluginError):
        plugins.find(shapes, "..plugins")


def test_a_fault_inside_a_plugin_is_not_taken_for_a_missing_one(shapes, tmp_path):
    (tmp_path / shapes / "broken.py").write_text("import no_such_module_anywhere\n", encoding="utf-8")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        plugins.find(shapes, "broken")
