"""Rewrite the ``src/`` lines of dvc.yaml's ``deps:`` from what the code imports: ``make deps``.

Lines that are a choice stay as they are: data, templates (``src/vlp/tasks/${key}``), and files or whole folders of
plug-ins. Every other ``src/`` line follows from the code, so it is dropped and written anew; all are sorted. Problems
that need a decision are printed, and the process ends with status 1.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from ruamel.yaml import YAML

from support import graph
from support.imports import Source

PROJECT = Path(__file__).resolve().parents[2]


def rewrite(project: Path) -> list[str]:
    """Write ``dvc.yaml`` anew; returns the problems that are left."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    path = project / "dvc.yaml"
    document = yaml.load(path.read_text(encoding="utf-8"))
    source = Source(project / "src")
    for stage in graph.stages(project):
        check = graph.Check.of(project, stage, source)
        if check is None:
            continue
        stanza = document["stages"][stage.name]
        body = stanza.get("do", stanza)
        chosen = [line for line in body["deps"] if not line.startswith("src/") or "${" in line or check.is_plugin(line)]
        code = sorted([*(line for line in chosen if line.startswith("src/")), *check.imports(chosen)])
        body["deps"] = [*(line for line in chosen if not line.startswith("src/")), *code]
    text = io.StringIO()
    yaml.dump(document, text)
    path.write_text(text.getvalue(), encoding="utf-8")
    return graph.problems(project)


if __name__ == "__main__":
    left = rewrite(PROJECT)
    sys.stderr.write("".join(f"{line}\n" for line in left))
    raise SystemExit(bool(left))
