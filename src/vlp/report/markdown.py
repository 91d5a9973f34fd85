"""Tables and numbers in GitHub's Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from typing import Any

MOST_ROWS = 50
"""Of one table: a comment on GitHub holds 65,536 characters."""

NOTHING = "–"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, more: str = "") -> str:
    """A table of at most ``MOST_ROWS`` rows; what is left out is counted below it, followed by ``more``."""
    lines = [header, ["---"] * len(header), *rows[:MOST_ROWS]]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    left_out = len(rows) - MOST_ROWS
    return text if left_out <= 0 else f"{text}\n\n… and {left_out} rows more{more}."


def details(summary: str, body: str) -> str:
    """``body`` folded under ``summary``, a plain text."""
    return f"<details><summary>{html(summary)}</summary>\n\n{body}\n\n</details>"


def code(text: str) -> str:
    """``text`` as code, whatever is in it, on one line and safe inside a table."""
    shown = text.replace("|", "\\|").replace("\n", " ")
    if not shown:
        return NOTHING
    ticks = "``" if "`" in shown else "`"
    pad = " " if "`" in shown else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def plain(text: str) -> str:
    """``text`` as prose: what Markdown and HTML would act upon, escaped; on one line."""
    escaped = "".join(f"\\{char}" if char in "\\`*_[]<>|#@~$" else char for char in text)
    return escaped.replace("\n", " ")


def html(text: str) -> str:
    """``text`` between HTML's own tags, where Markdown's escapes would be shown as they stand; on one line."""
    return escape(text, quote=False).replace("\n", " ")


def number(value: float | int) -> str:
    """Four significant digits; whole numbers in full."""
    if isinstance(value, int):
        return str(value)
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.4g}"


def difference(value: float | int) -> str:
    """Signed; three significant digits of what is not whole."""
    shown = f"{value:+d}" if isinstance(value, int) else f"{value:+.3g}"
    return shown.replace("-", "−", 1) if value < 0 else shown


def short(value: Any) -> str:
    """A parameter's or metric's value as code; long ones are cut, visibly."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return code(text if len(text) <= 80 else text[:79] + "…")


def bytes_(count: int) -> str:
    """Bytes in the largest unit of which there is one."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.3g} {unit}"
    return f"{count} B"


def several(count: int, one: str, many: str | None = None) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count} {one if count == 1 else many or one + 's'}"
