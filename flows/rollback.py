"""The flow ``rollback``: back to the version that was in production before, or to a named one.

python -m flows.rollback [VERSION]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from prefect import flow

from flows import artifacts, notifications, promotion, settings, standing
from flows.registry import Registry, Version


class RollbackError(ValueError):
    """There is nothing to return to."""


@flow(name="rollback", on_failure=[notifications.on_failure], on_crashed=[notifications.on_failure])
def rollback(project: str = ".", version: str | None = None) -> Version:
    """Return to another registered version.

    Args:
        project: the git repository.
        version: ``v0.0.3``; None for the one that was in production before.

    Raises:
        RollbackError: there is none.
    """
    root = Path(project).resolve()
    chosen = settings.load(root)
    registry = Registry(root, chosen.artifact)
    before, wanted = registry.champion(), _wanted(registry, version)
    left = before.name if before else "nothing"
    # Which version was there before is true of this champion alone; a version that is named is wanted in any case.
    check = promotion.still(before.name) if before and version is None else lambda _: None
    promotion.return_to(root, wanted, chosen, check)
    notifications.tell(chosen.notifications, "rolled_back", f"{wanted.name} is in production again", f"{left} is not")
    artifacts.outcome("production", {"version": wanted.name, "commit": wanted.commit, "rolled back from": left})
    return wanted


def _wanted(registry: Registry, version: str | None) -> Version:
    if version is None:
        previous = registry.previous()
        if previous is None:
            raise RollbackError("no version was in production before this one")
        return previous
    found = {each.name: each for each in registry.versions()}
    if version not in found:
        raise RollbackError(f"no version {version!r}; there is {', '.join(found) or 'none'}")
    return found[version]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m flows.rollback", description=rollback.__doc__)
    parser.add_argument("version", nargs="?")
    arguments = parser.parse_args()
    try:
        with standing.server(Path.cwd()):
            rollback(version=arguments.version)
    except (RuntimeError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
