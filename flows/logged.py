"""What reports, or tidies up after a thing that is done, does not end the thing: its error is a line of the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging import get_logger

from flows import secrets


@contextmanager
def only(what: str) -> Iterator[None]:
    """Log an error of the block, after ``what`` it left undone, and go on: a server that is away, say, or is locked.

    A training of hours must not end because nobody could be shown how far it is. A cancellation is no such error.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a client of a server may raise anything
        get_logger("flows").error("%s: %s", what, secrets.hide(str(error) or type(error).__name__))
