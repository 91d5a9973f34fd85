"""Which bundle is to be served here: that of the version in production, or else the newest of this working tree.

python -m flows.champion        # prints its folder
"""

from __future__ import annotations

import sys
from pathlib import Path

from flows import settings
from flows.registry import Registry
from flows.serving import BUNDLE, Site


def bundle(root: Path) -> Path:
    """The champion's sealed bundle, unpacked where it is not there yet; before the first promotion ``models/bundle``.

    Raises:
        Exception: the champion's files are neither here nor in a remote.
    """
    chosen = settings.load(root)
    champion = Registry(root, chosen.artifact).champion()
    if champion is None:
        return root / BUNDLE
    return Site(root, chosen.serving).unpack(champion.name, champion.commit) / "bundle"


def main() -> None:
    """The command line."""
    sys.stdout.write(f"{bundle(Path.cwd().resolve())}\n")


if __name__ == "__main__":
    main()
