"""What a test's own process imports first: while it imports the rest, nobody looks for garbage in what torch makes.

All of it stays for good, and the search is a third of the time. Stages do the same (``vlp.stages.base``).
"""

from __future__ import annotations

import gc

gc.disable()


def over() -> None:
    """All is imported."""
    gc.enable()
