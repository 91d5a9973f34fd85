"""A command below the guard: its lines as they come, its environment without secrets, nothing left when it is over."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from flows import secrets

GUARD = Path(__file__).with_name("guard.py")
KEPT_LINES = 200
"""Of a command's output, for the error that says why it failed."""

_TRANSIENT = re.compile(
    r"Errno (4|5|11|16|104|110|111|113|116)\]|unable to acquire lock|database is locked|is busy with another"
    r"|connection (reset|refused|aborted|timed out)|temporar(y|ily)|timed? ?out|remote end closed|service unavailable",
    re.IGNORECASE,
)

_KILLED = re.compile(r"exited with (-\d+|137|143)\b")
"""What DVC says of a stage that a signal ended: the kernel out of memory, an operator, a machine that goes down."""


_running: set[subprocess.Popen[str]] = set()


class CommandError(RuntimeError):
    """A command ended badly. ``output`` is the end of what it said; ``transient``, whether a retry may help."""

    def __init__(self, command: Sequence[str], status: int, output: str) -> None:
        self.command, self.status, self.output = list(command), status, output
        last = output.strip().splitlines()[-1:] or ["no message"]
        super().__init__(f"{' '.join(command)}: status {status}: {last[0]}")

    @property
    def transient(self) -> bool:
        """Whether it failed for a reason that may be gone in a moment: a lock, the network, a busy disk."""
        return bool(_TRANSIENT.search(self.output))

    @property
    def killed(self) -> bool:
        """Whether a signal ended it, or the stage that it ran."""
        return self.status < 0 or self.status in (137, 143) or bool(_KILLED.search(self.output))


def run(
    command: Sequence[str],
    folder: Path,
    on_line: Callable[[str], None] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run ``command`` in ``folder`` to its end; whatever interrupts the wait ends all of its processes.

    Args:
        command: the program, found on the path of ``environment``, and its arguments.
        folder: where it runs.
        on_line: called with each line of its output (both streams, in order) as it comes, secrets hidden.
        environment: its variables; this process's without secrets by default.

    Returns:
        Its output, secrets hidden: the last ``KEPT_LINES`` lines.

    Raises:
        CommandError: it ended with another status than 0.
    """
    environment = secrets.without(os.environ) if environment is None else environment
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARD), *command],
        cwd=folder,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        _running.add(process)
        try:
            for line in process.stdout:
                shown = secrets.hide(line.rstrip())
                kept.append(shown)
                if on_line is not None:
                    on_line(shown)
            status = process.wait()
        except BaseException:
            process.stdin.close()  # the guard ends the group
            process.wait()
            raise
        finally:
            _running.discard(process)
    output = "\n".join(kept)
    if status:
        raise CommandError(command, status, output)
    return output


@contextmanager
def none_left() -> Iterator[None]:
    """End every running command, in whatever thread it is waited for, when the block is interrupted or fails.

    A flow is cancelled in its main thread, by an exception; the threads of its tasks would wait on.
    """
    try:
        yield
    except BaseException:
        for process in list(_running):
            assert process.stdin is not None
            process.stdin.close()
        raise


def python_environment(code: Path, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """``base`` (by default this process's environment) without secrets, ``code``/src and this interpreter first."""
    base = os.environ if base is None else base
    path = [str(Path(sys.executable).parent), base.get("PATH", "")]
    modules = [str(code / "src"), str(code), base.get("PYTHONPATH", "")]
    return secrets.without(base) | {"PATH": _joined(path), "PYTHONPATH": _joined(modules)}


def _joined(parts: list[str]) -> str:
    return os.pathsep.join(part for part in parts if part)
