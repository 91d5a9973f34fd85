"""The stages of a DVC repository and what each needs, read from DVC itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path

from dvc.repo import Repo
from dvc.stage import Stage


@dataclass(frozen=True, slots=True)
class Graph:
    """Stage → the stages it needs, each stage after all that it needs; stage → what it writes, as relative paths;
    stage → the ``.dvc`` files of data that it reads and that are not there as they say.
    """

    needs: Mapping[str, tuple[str, ...]]
    outs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def outdated(self, changed: set[str]) -> set[str]:
        """The ``changed`` stages and every stage after one of them."""
        found: set[str] = set()
        for stage, needs in self.needs.items():
            if stage in changed or found & set(needs):
                found.add(stage)
        return found

    def behind(self, targets: tuple[str, ...]) -> Graph:
        """The part of the graph that ``targets`` need, themselves included; all of it for none.

        Raises:
            ValueError: there is no such stage; ``finetune`` stands for every ``finetune@…``.
        """
        if not targets:
            return self
        wanted: set[str] = set()
        for target in targets:
            named = {stage for stage in self.needs if stage == target or stage.split("@")[0] == target}
            if not named:
                raise ValueError(f"no stage {target!r} in dvc.yaml; there is {', '.join(self.needs)}")
            wanted |= named
        for stage in reversed(list(self.needs)):
            if stage in wanted:
                wanted.update(self.needs[stage])
        return Graph({stage: needs for stage, needs in self.needs.items() if stage in wanted}, self.outs, self.missing)


def read(folder: Path) -> tuple[Graph, set[str]]:
    """The graph of the repository in ``folder``, and the stages whose code, data or parameters are not dvc.lock's.

    Stages after a changed one are not among the changed: what they need may turn out the same.
    """
    with Repo(str(folder)) as repo, repo.lock:
        graph = repo.index.graph
        stages = {stage.name: stage for stage in repo.index.stages if stage.cmd}
        needs = {
            name: tuple(sorted(found.name for found in graph.successors(stage) if found.cmd))
            for name, stage in stages.items()
        }
        changed = {name for name, stage in stages.items() if stage.status()}
        outs = {name: tuple(_relative(out.fs_path, folder) for out in stage.outs) for name, stage in stages.items()}
        lacking = {found for found in repo.index.stages if not found.cmd and _lacks_data(found)}
        missing = {
            name: tuple(sorted(_relative(found.path, folder) for found in graph.successors(stage) if found in lacking))
            for name, stage in stages.items()
        }
    order = TopologicalSorter(dict(sorted(needs.items()))).static_order()
    return Graph({name: needs[name] for name in order}, outs, missing), changed


def _lacks_data(stage: Stage) -> bool:
    return any(out.workspace_status() for out in stage.outs)


def _relative(path: str, folder: Path) -> str:
    return Path(path).relative_to(folder.resolve()).as_posix()
