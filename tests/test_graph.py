"""dvc.yaml, params.yaml and the code say the same: else a change would re-run too much, or, worse, too little."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import graph, rewrite_deps
from support.imports import Source

PROJECT = Path(__file__).resolve().parent.parent


@pytest.mark.house
def test_the_graph_lists_what_the_code_imports_and_reads_no_less_and_no_more():
    found = graph.problems(PROJECT)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.house
def test_a_package_init_holds_only_a_docstring_so_that_no_stage_depends_on_it():
    source = Source(PROJECT / "src")
    plugins = PROJECT / "src" / "vlp" / "tasks"  # each a package: its folder is the dependency
    full = [path for path in (PROJECT / "src").rglob("__init__.py") if not source.is_bare(path)]
    assert all(path.parent.parent == plugins for path in full), full


@pytest.mark.house
@pytest.mark.parametrize(("section", "folder"), [("sources", "data/sources"), ("tasks", "tasks")])
def test_a_plugin_section_is_named_after_its_file(section, folder):
    sections = set(graph.load_yaml(PROJECT / "params.yaml")[section])
    files = {path.stem for path in (PROJECT / "src" / "vlp" / folder).iterdir()}
    assert sections <= files


# The checker itself, on a project of three stages that is right, and on that project with one thing wrong.

FILES = {
    "params.yaml": "seed: 1\nread: {source: disk}\nsources: {disk: {path: x}}\ntasks: {count: {}, name: {}}\n",
    "dvc.yaml": """
stages:
  read:
    cmd: python -m vlp.stages.read
    params: [seed, read, "sources.${read.source}"]
    deps:
      - raw
      - src/vlp/stages/read.py
      - src/vlp/sources/${read.source}.py
      - src/vlp/text.py
      - src/vlp/params.py
      - src/vlp/plugins.py
    outs: [data]
  train:
    foreach: ${tasks}
    do:
      cmd: python -m vlp.stages.train ${key}
      params: [seed, "tasks.${key}"]
      deps:
        - data
        - src/vlp/stages/train.py
        - src/vlp/params.py
        - src/vlp/plugins.py
        - src/vlp/tasks/${key}.py
        - src/vlp/report.py
        - src/vlp/report.html
""",
    "src/vlp/__init__.py": '"""The package."""\n',
    "src/vlp/params.py": "def load_section(name, cls): ...\n",
    "src/vlp/plugins.py": "def find(package, name): ...\n",
    "src/vlp/text.py": "",
    "src/vlp/report.py": 'TEMPLATE = "report.html"\n',
    "src/vlp/report.html": "<p>",
    "src/vlp/sources/__init__.py": '"""Sources."""\n',
    "src/vlp/sources/disk.py": "from vlp import text\n",
    "src/vlp/sources/network.py": "",
    "src/vlp/tasks/count.py": "from vlp.report import TEMPLATE\n",
    "src/vlp/tasks/name.py": "",
    "src/vlp/stages/read.py": """
from vlp import params, plugins
SOURCES = "vlp.sources"
class Params:
    seed: int
    read: dict
source = plugins.find(SOURCES, "disk")
params.load_section(f"sources.{source}", source.Params)
""",
    "src/vlp/stages/train.py": """
from typing import TYPE_CHECKING
from vlp.params import load_section
from vlp.plugins import find
if TYPE_CHECKING:
    from vlp import text
class Params:
    seed: int
def main(key):
    load_section(f"tasks.{key}", find("vlp.tasks", key).Params)
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def edit(project: Path, name: str, old: str, new: str) -> None:
    path = project / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_graph_that_is_right_has_no_problem(project):
    assert graph.problems(project) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        pytest.param(
            "dvc.yaml", "      - src/vlp/text.py\n", "",
            "dvc.yaml: stages.read.deps: add `- src/vlp/text.py` (sources/disk.py → text.py)",
            id="an import of a plug-in is not listed",
        ),
        pytest.param(
            "src/vlp/plugins.py", "def", "import vlp.report\ndef",
            "dvc.yaml: stages.read.deps: add `- src/vlp/report.py` (stages/read.py → plugins.py → report.py)",
            id="an import of an import is not listed",
        ),
        pytest.param(
            "dvc.yaml", "        - src/vlp/report.html\n", "",
            "dvc.yaml: stages.train.deps: add `- src/vlp/report.html` (tasks/count.py → report.py → report.html)",
            id="a template is not listed",
        ),
        pytest.param(
            "src/vlp/sources/disk.py", "from vlp import text", "",
            "dvc.yaml: stages.read.deps: remove `- src/vlp/text.py` (not imported: src/vlp/text.py)",
            id="a file is listed that nothing imports",
        ),
        pytest.param(
            "dvc.yaml", "        - src/vlp/tasks/${key}.py\n", "",
            "dvc.yaml: stages.train.deps: add `- src/vlp/tasks/${…}.py` (src/vlp/stages/train.py finds plug-ins there)",
            id="a plug-in is not listed",
        ),
        pytest.param(
            "dvc.yaml", "- src/vlp/sources/${read.source}.py\n      - src/vlp/text.py", "- src/vlp",
            "dvc.yaml: stages.read.deps: remove `- src/vlp` (src/vlp/sources inside it holds plug-ins",
            id="a folder hides a folder of plug-ins",
        ),
        pytest.param(
            "dvc.yaml", "[seed, read, ", "[seed, ",
            "dvc.yaml: stages.read.params: add `- read` (a field of Params in src/vlp/stages/read.py)",
            id="a section is read that is not listed",
        ),
        pytest.param(
            "src/vlp/stages/train.py", "    seed: int", "    ...",
            "dvc.yaml: stages.train.params: remove `- seed` (no field of Params in src/vlp/stages/train.py)",
            id="a section is listed that is not read",
        ),
        pytest.param(
            "dvc.yaml", ', "sources.${read.source}"', "",
            "dvc.yaml: stages.read.params: add `- sources.${…}` (the code reads load_section(f\"sources.…\"))",
            id="a plug-in's section is not listed",
        ),
        pytest.param(
            "params.yaml", "seed: 1", "seed: 1\nsede: 2",
            "params.yaml: sede: no stage of dvc.yaml lists this section under params:",
            id="a section of params.yaml that no stage reads",
        ),
        pytest.param(
            "params.yaml", "{source: disk}", "{}",
            "dvc.yaml: ${read.source}: params.yaml has no such key",
            id="a template without a value",
        ),
        pytest.param(
            "params.yaml", "count: {}", "sum: {}",
            "dvc.yaml: stages.train.deps: remove `- src/vlp/tasks/${key}.py` (no such file or folder)",
            id="a task without a file",
        ),
    ],
)  # fmt: skip
def test_a_difference_is_told_with_the_line_to_change(project, name, old, new, message):
    edit(project, name, old, new)
    assert any(line.startswith(message) for line in graph.problems(project)), graph.problems(project)


def test_a_folder_of_plugins_may_be_listed_where_all_of_it_is_used(project):
    edit(project, "dvc.yaml", "- src/vlp/sources/${read.source}.py", "- src/vlp/sources")
    assert graph.problems(project) == []


def test_an_edit_in_a_plugin_that_is_not_chosen_concerns_no_stage(project):
    edit(project, "src/vlp/tasks/name.py", "", "x = 1\n")
    edit(project, "src/vlp/sources/network.py", "", "from vlp import text\n")
    assert graph.problems(project) == []


def test_what_another_choice_of_a_parameter_needs_is_listed_too(project):
    edit(project, "src/vlp/sources/network.py", "", "from vlp import report\n")
    assert any("add `- src/vlp/report.py` (sources/network.py → report.py)" in line for line in graph.problems(project))


def test_the_lines_that_follow_from_imports_are_written_and_choices_stay(project):
    right = (project / "dvc.yaml").read_text(encoding="utf-8")
    assert rewrite_deps.rewrite(project) == []
    once = (project / "dvc.yaml").read_text(encoding="utf-8")
    for line in ("      - src/vlp/text.py\n", "      - src/vlp/plugins.py\n", "        - src/vlp/report.html\n"):
        edit(project, "dvc.yaml", line, "")
    edit(project, "dvc.yaml", "- src/vlp/stages/read.py", "- src/vlp/report.py\n      - src/vlp/stages/read.py")
    assert rewrite_deps.rewrite(project) == []
    assert (project / "dvc.yaml").read_text(encoding="utf-8") == once
    assert sorted(once.split()) == sorted(right.split())


def test_a_choice_of_plugin_is_left_to_a_person(project):
    edit(project, "dvc.yaml", "        - src/vlp/tasks/${key}.py\n", "")
    (left,) = [line for line in rewrite_deps.rewrite(project) if " add " in line]
    assert "add `- src/vlp/tasks/${…}.py`" in left
