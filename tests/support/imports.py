"""What a module imports, read from its source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Module:
    """One source file below ``src``."""

    path: Path
    tree: ast.Module

    @cached_property
    def constants(self) -> dict[str, str]:
        """Module-level names of texts: ``FUSIONS = "vlp.models.fusion"``."""
        return {
            target.id: node.value.value
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def calls(self, name: str) -> Iterator[ast.Call]:
        """Calls of the function or method ``name`` that have an argument."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and node.args:
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
                if called == name:
                    yield node


@dataclass
class Source:
    """The package below ``src``, file by file."""

    src: Path
    package: str = "vlp"
    _modules: dict[Path, Module] = field(default_factory=dict)
    _imported: dict[Path, set[Path]] = field(default_factory=dict)
    _plugins: dict[Path, set[Path]] = field(default_factory=dict)
    _companions: dict[Path, set[Path]] = field(default_factory=dict)

    def module(self, path: Path) -> Module:
        if path not in self._modules:
            self._modules[path] = Module(path, ast.parse(path.read_text(encoding="utf-8"), str(path)))
        return self._modules[path]

    def locate(self, dotted: str) -> Path | None:
        """The file of the module ``dotted``; None if it is none of the package's."""
        if dotted.split(".")[0] != self.package:
            return None
        base = self.src.joinpath(*dotted.split("."))
        return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)

    def imported(self, path: Path) -> set[Path]:
        """The package's files that ``path`` imports anywhere, those for type checkers only left out."""
        if path not in self._imported:
            self._imported[path] = self._find_imported(path)
        return self._imported[path]

    def _find_imported(self, path: Path) -> set[Path]:
        found: set[Path | None] = set()
        for node in _running(self.module(path).tree):
            if isinstance(node, ast.Import):
                found |= {self.locate(alias.name) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    found.add(self.locate(f"{node.module}.{alias.name}") or self.locate(node.module))
        return {path for path in found if path is not None and not self.is_bare(path)}

    def is_bare(self, path: Path) -> bool:
        """A package's ``__init__.py`` with a docstring and nothing else: it cannot change what a stage does."""
        if path.name != "__init__.py":
            return False
        return all(
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in self.module(path).tree.body
        )

    def plugin_folders(self, path: Path) -> set[Path]:
        """The folders that ``path`` picks plug-ins from: the first arguments of its ``plugins.find``."""
        if path not in self._plugins:
            self._plugins[path] = self._find_plugins(path)
        return self._plugins[path]

    def _find_plugins(self, path: Path) -> set[Path]:
        module = self.module(path)
        found = set()
        for call in module.calls("find"):
            argument = call.args[0]
            dotted = (
                argument.value
                if isinstance(argument, ast.Constant)
                else module.constants.get(getattr(argument, "id", ""))
            )
            if isinstance(dotted, str) and dotted.startswith(f"{self.package}."):
                found.add(self.src.joinpath(*dotted.split(".")))
        return found

    def companions(self, path: Path) -> set[Path]:
        """Files beside ``path`` that are no code and that it names: a template, a table."""
        if path not in self._companions:
            self._companions[path] = self._find_companions(path)
        return self._companions[path]

    def _find_companions(self, path: Path) -> set[Path]:
        text = path.read_text(encoding="utf-8")
        beside = (other for other in path.parent.iterdir() if other.is_file() and other.suffix not in (".py", ".pyc"))
        return {other for other in beside if f'"{other.name}"' in text}

    def closure(self, roots: set[Path]) -> dict[Path, tuple[Path, ...]]:
        """Every file that ``roots`` import, directly or not, with the shortest chain of files that leads to it."""
        chains: dict[Path, tuple[Path, ...]] = {root: (root,) for root in sorted(roots)}
        waiting = list(chains)
        for path in waiting:  # grows while it is walked: breadth first, so the first chain is a shortest one
            more = self.imported(path) | self.companions(path) if path.suffix == ".py" else set()
            for found in sorted(more - chains.keys()):
                chains[found] = (*chains[path], found)
                waiting.append(found)
        return chains

    def section_fields(self, path: Path, name: str) -> set[str] | None:
        """The fields of the class ``name`` in ``path``; None if there is no such class."""
        for node in self.module(path).tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return {
                    item.target.id
                    for item in node.body
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
                }
        return None


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below ``node`` but those under ``if TYPE_CHECKING:``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield other
                yield from _running(other)
            continue
        yield child
        yield from _running(child)
