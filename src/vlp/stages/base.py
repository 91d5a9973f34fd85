"""How every command of the house starts and fails: logging to standard error, a user's mistake in one line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable


def run(main: Callable[[], None]) -> None:
    """Run a stage's ``main``; end the process with status 1 and one line where the user has to act.

    ``ValueError`` (the root of this project's errors) and ``OSError`` (a missing file, a full disk) are the
    user's to mend: they become ``error: …`` on standard error, without a traceback. Anything else is a defect
    of this software and propagates with its traceback.

    Raises:
        SystemExit: with status 1, after a ``ValueError`` or an ``OSError``.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr, level=logging.WARNING, force=True)
    for own in ("vlp", "__main__"):  # others' libraries speak up only to warn
        logging.getLogger(own).setLevel(logging.INFO)
    try:
        main()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None
