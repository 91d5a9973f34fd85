"""What a run shows in Prefect: parameters, figures beside the champion's, the validation, reports. No secret.

What cannot be shown is an error in the log, and never the end of the run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows import logged, metrics, names, secrets
from flows.registry import Registry
from flows.stages import Status
from flows.worktree import git

REPORTS = Path("runs") / "reports"
"""Below the project: the pages of each run, after its worktree is gone."""


@logged.only("the parameters are not shown in Prefect")
def parameters(folder: Path, base: str) -> None:
    """``params.yaml`` of the run, and what differs from the revision ``base``."""
    text = (folder / "params.yaml").read_text(encoding="utf-8") if (folder / "params.yaml").exists() else ""
    changed = git(folder, "diff", base, "--", "params.yaml")
    parts = [f"As of {base[:12]}" + (", changed:" if changed else "."), *_block("diff", changed), *_block("yaml", text)]
    _markdown("parameters", "\n".join(parts))


@logged.only("what became of the stages is not shown in Prefect")
def stages(statuses: Mapping[str, Status]) -> None:
    """What became of each stage."""
    create_table_artifact([{"stage": name, "status": str(status)} for name, status in statuses.items()], key="stages")


@logged.only("the metrics are not shown in Prefect")
def figures(folder: Path, registry: Registry) -> None:
    """Every metric of the run beside the champion's."""
    champion = registry.champion()
    old = metrics.at(registry.project, champion.commit) if champion else None
    compared = f"against the champion {champion.name}" if champion else "there is no champion yet"
    rows = metrics.table(metrics.read(folder), old)
    create_table_artifact(rows, key="metrics", description=f"All metrics, {compared}.")


@logged.only("the validation is not shown in Prefect")
def validation(folder: Path) -> None:
    """The counts of ``metrics/validation.json``, where the run has it."""
    path = folder / metrics.FOLDER / "validation.json"
    if not path.exists():
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    lines = [f"| {name} | {value} |" for name, value in found.items() if isinstance(value, int | float)]
    reasons = [f"| {name} | {value} |" for name, value in found.get("rejects_by_reason", {}).items()]
    table = ["| figure | value |", "|---|---|", *lines]
    rejected = ["", "| rejected for | records |", "|---|---|", *reasons] if reasons else []
    _markdown("validation", "\n".join([*table, *rejected]))


def reports(folder: Path, project: Path, run: str, keep: int) -> list[Path]:
    """Keep the run's pages (``reports/**.html``) below the project and link them; the oldest runs' go."""
    kept = []
    for page in sorted((folder / "reports").rglob("*.html")):
        target = project / REPORTS / run / page.relative_to(folder / "reports")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, target)
        with logged.only(f"{target.name} is not linked in Prefect"):
            key = f"report-{names.plain(target.stem)}"
            create_link_artifact(target.resolve().as_uri(), link_text=target.name, key=key)
        kept.append(target)
    drop_old_reports(project, keep)
    return kept


def drop_old_reports(project: Path, keep: int) -> list[str]:
    """Remove the pages of all but the newest ``keep`` runs; the names of those runs."""
    runs = sorted((project / REPORTS).glob("*"), key=_written)
    for old in runs[:-keep]:
        with suppress(FileNotFoundError):  # another run, at its end, takes its own away or clears up, too
            shutil.rmtree(old)
    return [old.name for old in runs[:-keep]]


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@logged.only("the gate's verdict is not shown in Prefect")
def verdict(text: str) -> None:
    """Why a challenger was promoted or refused."""
    _markdown("gate", text)


@logged.only("the outcome is not shown in Prefect")
def outcome(key: str, lines: Mapping[str, Any]) -> None:
    """How a flow ended, a line a fact."""
    _markdown(key, "\n".join(f"* **{name}**: {value}" for name, value in lines.items()))


def _block(language: str, text: str) -> list[str]:
    return [f"```{language}", text.rstrip(), "```"] if text.strip() else []


def _markdown(key: str, text: str) -> None:
    create_markdown_artifact(secrets.hide(text), key=key)
