"""Names that anybody may give, as names that a branch, a folder and Prefect's artifacts may have."""

from __future__ import annotations

import re
import unicodedata

MOST = 60
"""Characters."""


def plain(name: str, most: int = MOST) -> str:
    """``name`` in small ASCII letters, digits and single dashes; ``run`` where nothing of it is left."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:most].rstrip("-") or "run"
