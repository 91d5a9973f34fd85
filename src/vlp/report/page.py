"""The whole report of what a branch changes, or one reason why there can be none."""

from __future__ import annotations

import logging
from pathlib import Path

from vlp.report import revisions, sections
from vlp.report.lock import Cache
from vlp.report.markdown import code, plain
from vlp.report.revisions import ReportError, Revision

MARKER = "<!-- vlp report -->"
"""Opens every report: by it a comment is found again, to be updated rather than repeated."""
HEAD = "HEAD"
MOST_CHARACTERS = 65_000
"""A comment on GitHub holds 65,536."""

logger = logging.getLogger(__name__)


def render(project: Path, base: str) -> str:
    """The report of ``project``'s last commit against the revision ``base``, as GitHub's Markdown.

    Args:
        project: the root of a git and DVC repository; nothing in it is changed.
        base: a branch, a tag or a commit. A branch that is only at ``origin`` is found there.

    Raises:
        ReportError: a revision is unknown, dvc.yaml or a metrics file of either is missing or broken, or the last
            commit's results are not those of its code. The message says what to do.
    """
    revisions.check_repository(project)
    if left_out := revisions.uncommitted(project):
        shown = ", ".join(left_out[:5]) + (", …" if len(left_out) > 5 else "")
        logger.warning(
            "the report is of the last commit: %d uncommitted changes are not in it: %s", len(left_out), shown
        )
    with revisions.checked_out(project, base, HEAD) as (old, new):
        if stale := new.stale_stages():
            raise ReportError(
                f"{new.short}: dvc.lock does not match the code: {', '.join(stale)} would run in a clean clone; "
                "run dvc repro and commit dvc.lock with its metrics"
            )
        warning = _warning(old)
        pair = sections.Pair(sections.Side.of(old, plain(base)), sections.Side.of(new, "this branch"), Cache(project))
        return _page(pair, warning)


def _warning(base: Revision) -> str:
    """What a reader must know of the base: a branch that mends a stale base still gets its report."""
    stale = base.stale_stages()
    if not stale:
        return ""
    names = ", ".join(map(code, stale))
    return f"> [!WARNING]\n> {plain(base.name)}: dvc.lock does not match the code, at least {names} would run.\n\n"


def _page(pair: sections.Pair, warning: str) -> str:
    summary, tables = sections.metrics(pair)
    parts = {
        "Parameters": sections.parameters(pair),
        "Metrics": tables,
        "Data": sections.data(pair),
        "Validation": sections.validation(pair),
        "Predictions": sections.changed_predictions(pair),
        "Plots": sections.curves(pair),
    }
    old, new = pair.old.revision, pair.new.revision
    head = (
        f"{MARKER}\n# What this branch changes\n\n{code(new.short)} against {pair.labels[0]} ({code(old.short)}).\n\n"
    )
    foot = (
        "<sub>Beyond the interval: each side's value lies outside the other's 95 % interval. "
        f"Made by `vlp report --base {old.name}`; in a clean clone of {new.short} no stage is left to run.</sub>"
    )
    for dispensable in ("", "Plots", "Predictions", "Data"):
        if dispensable:
            parts[dispensable] = "Left out: the report would not fit into a comment."
        body = "\n\n".join(f"## {title}\n\n{text}" for title, text in parts.items())
        page = f"{head}{warning}{summary}\n\n{body}\n\n{foot}\n"
        if len(page) <= MOST_CHARACTERS:
            break
    return page
