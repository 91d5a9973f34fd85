"""dvc.yaml against the code: what a stage lists must be what its code imports and reads, no less and no more.

Conventions, on which the rest of the house relies:

* a stage's command is ``python -m vlp.stages.<name> …``, and the class ``Params`` of that module has one field for each
  plain name under ``params:``;
* a dotted name under ``params:`` (``tasks.${key}``) is a plug-in's own section, which the code reads with
  ``load_section(f"tasks.{…}")``;
* a plug-in is chosen with ``plugins.find(<folder>, …)``, and ``deps:`` lists the chosen file of that folder by a
  template (``src/vlp/objectives/${key}.py``), or the files or the folder itself where all of it is used; a plug-in that
  is a package is listed as its folder (``src/vlp/tasks/${key}``), all of which it must import; a folder listed as a
  dependency never hides a folder of plug-ins inside it;
* a plug-in that a parameter chooses (``src/vlp/sources/${read.source}.py``) is one of several: the list must be right
  for each of them, so that a line which only another choice needs stands there too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from support.imports import Source


class GraphError(ValueError):
    """dvc.yaml cannot be filled in from params.yaml."""


@dataclass(frozen=True)
class Variant:
    """A stage, its templates filled in for one value of its ``foreach``."""

    deps: dict[str, str]
    """Filled-in path → the line as it stands in dvc.yaml; only those below src/."""
    params: tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    name: str
    module: str
    variants: tuple[Variant, ...]


def load_yaml(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def stages(project: Path) -> Iterator[Stage]:
    """The stages of ``dvc.yaml``, each with one variant for each value that it runs over."""
    params = load_yaml(project / "params.yaml")
    for name, stanza in load_yaml(project / "dvc.yaml")["stages"].items():
        body = stanza.get("do", stanza)
        matched = re.fullmatch(r"python -m (vlp\.stages\.\w+)( .*)?", body["cmd"])
        assert matched, f"dvc.yaml: stages.{name}.cmd: expected python -m vlp.stages.<name> …, found {body['cmd']}"
        scopes = [choice for scope in _scopes(stanza, params) for choice in _choices(project, body, scope)]
        variants = {
            (*one.deps, *one.params): one for one in (_variant(body, scope) for scope in scopes)
        }  # many say the same
        yield Stage(name, matched[1], tuple(variants.values()))


def _scopes(stanza: dict[str, Any], params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    over = stanza.get("foreach", stanza.get("matrix"))
    if over is None:
        yield params
        return
    items = _fill(over, params) if isinstance(over, str) else over
    pairs = items.items() if isinstance(items, dict) else ((str(item), item) for item in items)
    for key, item in pairs:
        yield params | {"key": key, "item": item}


def _choices(project: Path, body: dict[str, Any], scope: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """``scope``, and what it would be with each other plug-in of the files that a parameter chooses."""
    yield scope
    for line in body.get("deps", ()):
        found = re.fullmatch(r"(src/.+)/\$\{(\w+)\.([\w.]+)\}\.py", line)
        if found is None or found[2] in ("key", "item"):
            continue
        files = (path for path in (project / found[1]).glob("*.py") if is_plugin_file(path, [project / found[1]]))
        for name in sorted(path.stem for path in files):
            yield scope | {found[2]: _with(scope.get(found[2]), found[3].split("."), name)}


def _with(section: Any, path: list[str], value: str) -> dict[str, Any]:
    """``section`` with ``value`` at ``path``."""
    inside = section if isinstance(section, dict) else {}
    return inside | {path[0]: value if len(path) == 1 else _with(inside.get(path[0]), path[1:], value)}


def _variant(body: dict[str, Any], scope: dict[str, Any]) -> Variant:
    deps = {str(_fill(line, scope)): line for line in body.get("deps", ())}
    inside = {path: line for path, line in deps.items() if path.startswith("src/")}
    return Variant(inside, tuple(str(_fill(line, scope)) for line in body.get("params", ())))


def _fill(line: str, scope: dict[str, Any]) -> Any:
    """``line`` with each ``${a.b}`` replaced by its value; the value itself where the line is nothing else."""

    def look_up(dotted: str) -> Any:
        value: Any = scope
        for part in dotted.split("."):
            if not isinstance(value, dict) or part not in value:
                raise GraphError(f"dvc.yaml: ${{{dotted}}}: params.yaml has no such key")
            value = value[part]
        return value

    if whole := re.fullmatch(r"\$\{([^}]+)\}", line):
        return look_up(whole[1])
    return re.sub(r"\$\{([^}]+)\}", lambda found: str(look_up(found[1])), line)


def problems(project: Path) -> list[str]:
    """One line for each difference between dvc.yaml, params.yaml and the code; each says which line to change."""
    found: list[str] = []
    listed: set[str] = set()
    try:
        expanded = list(stages(project))
    except GraphError as error:
        return [str(error)]
    source = Source(project / "src")
    for stage in expanded:
        check = Check.of(project, stage, source)
        if check is None:
            found.append(f"dvc.yaml: stages.{stage.name}.cmd: there is no module {stage.module}")
            continue
        found += [*check.params(), *check.deps()]
        listed |= {name.split(".")[0] for variant in stage.variants for name in variant.params}
    for section in load_yaml(project / "params.yaml"):
        if section not in listed:
            found.append(f"params.yaml: {section}: no stage of dvc.yaml lists this section under params:")
    return found


def is_plugin_file(file: Path, folders: Iterable[Path]) -> bool:
    """Whether ``file`` is what importing a plug-in of ``folders`` runs first: a module, or a package's ``__init__``."""
    if file.name == "__init__.py":
        return file.parent.parent in folders
    return file.parent in folders and file.name != "base.py" and not file.name.startswith("_")


@dataclass
class Check:
    """One stage against its code."""

    project: Path
    source: Source
    stage: Stage
    path: Path
    _closures: dict[tuple[str, ...], dict[Path, tuple[Path, ...]]] = field(default_factory=dict)
    _listed: dict[str, set[Path]] = field(default_factory=dict)

    @classmethod
    def of(cls, project: Path, stage: Stage, source: Source) -> Check | None:
        """The check of ``stage``; None if its module is not there. ``source`` remembers what it has parsed."""
        path = source.locate(stage.module)
        return cls(project, source, stage, path) if path else None

    def _line(self, verb: str, where: str, line: str, why: str) -> str:
        return f"dvc.yaml: stages.{self.stage.name}.{where}: {verb} `- {line}` ({why})"

    def _name(self, path: Path) -> str:
        return path.relative_to(self.project).as_posix()

    def params(self) -> Iterator[str]:
        listed = {name for variant in self.stage.variants for name in variant.params}
        plain = {name for name in listed if "." not in name}
        plugin = {name.split(".")[0] for name in listed if "." in name}
        fields = self.source.section_fields(self.path, "Params")
        if fields is None:
            yield f"{self._name(self.path)}: no class Params, whose fields would be the stage's sections"
            return
        read = set().union(*(self._plugin_sections(path) for path in self._all_files()))
        for name in sorted(fields - plain):
            yield self._line("add", "params", name, f"a field of Params in {self._name(self.path)}")
        for name in sorted(plain - fields):
            yield self._line("remove", "params", name, f"no field of Params in {self._name(self.path)}")
        for name in sorted(read - plugin):
            yield self._line("add", "params", name + ".${…}", f'the code reads load_section(f"{name}.…")')
        for name in sorted(plugin - read):
            yield self._line("remove", "params", name + ".${…}", f'no load_section(f"{name}.…") in the stage\'s code')

    def _all_files(self) -> set[Path]:
        return {path for variant in self.stage.variants for path in self._closure(variant)}

    def _plugin_sections(self, path: Path) -> set[str]:
        if path.suffix != ".py":
            return set()
        opened = [call.args[0] for call in self.source.module(path).calls("load_section")]
        texts = [argument.values[0] for argument in opened if isinstance(argument, ast.JoinedStr)]
        return {str(text.value).split(".")[0] for text in texts if isinstance(text, ast.Constant)}

    def _closure(self, variant: Variant) -> dict[Path, tuple[Path, ...]]:
        """The imports of the stage's module and of the plug-ins that it lists, whose folders it must look into."""
        key = tuple(sorted(variant.deps))
        if key not in self._closures:
            self._closures[key] = self._find_closure(variant)
        return self._closures[key]

    def _find_closure(self, variant: Variant) -> dict[Path, tuple[Path, ...]]:
        roots = {self.path}
        while True:
            closure = self.source.closure(roots)
            folders = self._folders(closure)
            more = {
                file
                for listed in variant.deps
                for file in self._files(listed)
                if file.is_file() and is_plugin_file(file, folders)
            }
            if more <= roots:
                return closure
            roots |= more

    def _folders(self, closure: dict[Path, tuple[Path, ...]]) -> dict[Path, Path]:
        """Folders of plug-ins that the code looks into, each with a file that does."""
        code = [path for path in closure if path.suffix == ".py"]
        return {folder: path for path in code for folder in self.source.plugin_folders(path)}

    def _files(self, listed: str) -> set[Path]:
        if listed not in self._listed:
            self._listed[listed] = self._find_files(listed)
        return self._listed[listed]

    def _find_files(self, listed: str) -> set[Path]:
        path = self.project / listed
        if not path.is_dir():
            return {path}
        inside = (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        return {file for file in inside if file.suffix != ".py" or not self.source.is_bare(file)}

    def is_plugin(self, listed: str) -> bool:
        """Whether a line of ``deps:`` is a plug-in, or a whole folder of them, that the stage's code looks into."""
        path = self.project / listed
        folders = {folder for variant in self.stage.variants for folder in self._folders(self._closure(variant))}
        return path in folders or (path.parent in folders and path.name != "base.py" and not path.name.startswith("_"))

    def imports(self, chosen: list[str]) -> list[str]:
        """The files, sorted, that the stage imports besides those that the lines ``chosen`` cover."""
        found: set[Path] = set()
        for variant in self.stage.variants:
            covered = {file for path, line in variant.deps.items() if line in chosen for file in self._files(path)}
            found |= self._closure(variant).keys() - covered
        return [self._name(path) for path in sorted(found)]

    def deps(self) -> Iterator[str]:
        found: dict[str, None] = {}  # a set in order: two variants may say the same
        needed: set[Path] = set()
        for variant in self.stage.variants:
            closure = self._closure(variant)
            needed |= closure.keys()
            found.update(dict.fromkeys(self._missing(variant, closure)))
        for variant in self.stage.variants:
            found.update(dict.fromkeys(self._stale(variant, needed)))
        yield from found

    def _missing(self, variant: Variant, closure: dict[Path, tuple[Path, ...]]) -> Iterator[str]:
        covered = {file for listed in variant.deps for file in self._files(listed)}
        for path in sorted(closure.keys() - covered):
            chain = " → ".join(link.relative_to(self.project / "src" / "vlp").as_posix() for link in closure[path])
            yield self._line("add", "deps", self._name(path), chain)
        for folder, asking in sorted(self._folders(closure).items()):
            if not any(folder in (file.parent, file.parent.parent) for file in covered):
                yield self._line(
                    "add", "deps", self._name(folder) + "/${…}.py", f"{self._name(asking)} finds plug-ins there"
                )

    def _stale(self, variant: Variant, needed: set[Path]) -> Iterator[str]:
        folders = {folder for path in needed if path.suffix == ".py" for folder in self.source.plugin_folders(path)}
        for listed, line in variant.deps.items():
            files = self._files(listed)
            hidden = sorted(folder for folder in folders if (self.project / listed) in folder.parents)
            unused = sorted(files - needed)
            used = [file for file in sorted(files & needed) if not any(folder in file.parents for folder in hidden)]
            instead = f"; list instead {', '.join(map(self._name, used))}" if used else ""
            if not (self.project / listed).exists():
                yield self._line("remove", "deps", line, "no such file or folder")
            elif hidden:
                yield self._line("remove", "deps", line, f"{self._name(hidden[0])} inside it holds plug-ins{instead}")
            elif unused:
                yield self._line("remove", "deps", line, f"not imported: {', '.join(map(self._name, unused))}{instead}")
