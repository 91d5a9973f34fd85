"""The Prefect server that `make up` started, for whoever runs a flow by hand, and how a client logs in to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows import processes

FOLDER = Path("runs") / "local"
SERVER = FOLDER / "server.json"
LOGIN, LOCK, KEY = "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_KEY"
"""What a client shows; what a server asks for; what Prefect's cloud asks for."""


class LockedError(ValueError):
    """The server asks for a login, and refuses the one it was given."""


def login() -> dict[str, str]:
    """The variables by which a client of the server in use logs in; none where it is open.

    A server of the project's own has its lock from this environment, which so is the key, too. Somebody else's server
    is never shown it.
    """
    own = {} if os.environ.get("PREFECT_API_URL") else {LOGIN: os.environ.get(LOCK, "")}
    given = {name: os.environ.get(name, "") for name in (LOGIN, KEY)}
    return {name: value for name, value in [*own.items(), *given.items()] if value}


@contextmanager
def client_of(api: str | None) -> Iterator[None]:
    """In the block, this process is a client of the server at ``api``, logged in; None: of the one it had.

    That one, if it has an address, is somebody else's (the environment or a profile of Prefect's names it) and is not
    shown the lock of the project's own.
    """
    if api is None and PREFECT_API_URL.value():
        yield
        return
    address = {PREFECT_API_URL: api} if api else {}
    key = {PREFECT_API_AUTH_STRING: login()[LOGIN]} if LOGIN in login() else {}
    with temporary_settings(address | key):
        yield


def check_login(api: str) -> None:
    """Ask before anything is begun: what Prefect says of a locked server is a page of errors.

    Raises:
        LockedError: the server at ``api`` lets nobody in with this environment's login.
    """
    own = login()
    if KEY in own and os.environ.get("PREFECT_API_URL"):
        return  # the cloud, which wants a key; the project's own server knows none
    user, _, password = own.get(LOGIN, "").partition(":")
    shown = httpx.BasicAuth(user, password) if LOGIN in own else None
    try:
        status = httpx.get(f"{api}/admin/version", auth=shown, timeout=30, trust_env=False).status_code
    except httpx.TransportError:
        return  # whoever uses it says why
    if status in (401, 403):
        raise LockedError(
            f"{api}: the server is locked ({status}): set {LOGIN} to the value of its {LOCK}; the one that is set is "
            "another"
            if LOGIN in own
            else f"{api}: the server is locked ({status}): set {LOGIN} to the value of its {LOCK}"
        )


@contextmanager
def server(project: Path) -> Iterator[None]:
    """Flows in the block report to the project's standing server, if it runs and PREFECT_API_URL names no other.

    Raises:
        LockedError: as ``check_login`` does.
    """
    named = os.environ.get("PREFECT_API_URL")
    found = None if named else processes.read(project / SERVER)
    if api := named or (found.url if found else None):
        check_login(api)
    with client_of(found.url if found else None):
        yield
