"""``git`` and ``dvc`` as commands in processes of their own: the library imports neither."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


class CommandError(ValueError):
    """A command ended with a status other than 0; ``stdout`` and ``stderr`` are what it said."""

    def __init__(self, message: str, stdout: str, stderr: str) -> None:
        super().__init__(message)
        self.stdout = stdout
        self.stderr = stderr


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with this interpreter's commands first, git without hooks, and ``changes``."""
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    path = [part for part in path if part]
    return {**os.environ, "PATH": os.pathsep.join(path), **without_hooks(os.environ), **changes}


def without_hooks(base: Mapping[str, str]) -> dict[str, str]:
    """Variables, beside those of ``base``, by which git runs none of the user's hooks.

    They are for a person's checkout. ``dvc install`` makes some: a worktree that is being made has no cache yet, so
    that ``dvc checkout`` after each ``git worktree add`` fails, and the worktree with it.
    """
    count = int(base.get("GIT_CONFIG_COUNT") or 0)
    return {
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": "core.hooksPath",
        f"GIT_CONFIG_VALUE_{count}": os.devnull,
    }


def output(folder: Path, *command: str, env: Mapping[str, str] | None = None) -> str:
    """What ``command``, run in ``folder``, says on standard output.

    Raises:
        CommandError: it failed; its standard error is the message.
    """
    done = subprocess.run(
        command, cwd=folder, env=dict(env or environment()), capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).split())
        message = f"{' '.join(command[:3])}: {said} (status {done.returncode})"
        raise CommandError(message, done.stdout, done.stderr)
    return done.stdout
