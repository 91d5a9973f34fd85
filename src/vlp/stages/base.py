"""How every command of the house starts and fails: logging to standard error, a user's mistake in one line."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
from collections.abc import Callable


def _starts_a_stage() -> bool:
    """Whether this process is ``python -m vlp.stages.…``."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name.startswith(f"{__package__}.")


# Stages import this module first. What the others make, torch's and transformers' above all, stays for good: to look
# through it for garbage again and again, and in the end to take it apart, is a third of the time of their import.
_STAGE = _starts_a_stage()
if _STAGE:
    gc.disable()


def run(main: Callable[[], None]) -> None:
    """Run a stage's ``main``; end the process with status 1 and one line where the user has to act.

    ``ValueError`` (the root of this project's errors) and ``OSError`` (a missing file, a full disk) are the
    user's to mend: they become ``error: …`` on standard error, without a traceback. Anything else is a defect
    of this software and propagates with its traceback.

    Raises:
        SystemExit: with status 1, after a ``ValueError`` or an ``OSError``.
    """
    if _STAGE:
        gc.freeze()
        gc.enable()
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr, level=logging.WARNING, force=True)
    for own in ("vlp", "__main__"):  # others' libraries speak up only to warn
        logging.getLogger(own).setLevel(logging.INFO)
    try:
        main()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        if _STAGE:
            _end(1)
        raise SystemExit(1) from None
    if _STAGE:
        _end(0)


def _end(status: int) -> None:
    """End this process well, and leave its memory to the system as it is.

    Taken apart while it is frozen, libraries would call it a leak, line by line, below the error that counts.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
