"""How a client logs in to a Prefect server, and what is said where it may not."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows import processes, secrets, standing

LOGIN = "admin:planted-password"


@pytest.fixture(autouse=True)
def _open(monkeypatch):
    for name in ("PREFECT_API_URL", standing.LOGIN, standing.LOCK, standing.KEY):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def locked() -> Iterator[str]:
    """The address of what asks for LOGIN, as Prefect's server does."""
    wanted = "Basic " + base64.b64encode(LOGIN.encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers.get("Authorization") == wanted else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


def test_the_projects_own_server_is_opened_with_its_own_lock(monkeypatch):
    assert standing.login() == {}
    monkeypatch.setenv(standing.LOCK, LOGIN)
    assert standing.login() == {standing.LOGIN: LOGIN}
    monkeypatch.setenv(standing.LOGIN, "other:password")
    assert standing.login() == {standing.LOGIN: "other:password"}


def test_somebody_elses_server_is_not_shown_it(monkeypatch):
    monkeypatch.setenv(standing.LOCK, LOGIN)
    monkeypatch.setenv("PREFECT_API_URL", "https://elsewhere.example/api")
    assert standing.login() == {}
    monkeypatch.setenv(standing.KEY, "a-key-of-the-cloud")
    assert standing.login() == {standing.KEY: "a-key-of-the-cloud"}


def test_the_server_of_a_profile_is_not_shown_it_either(monkeypatch, tmp_path):
    monkeypatch.setenv(standing.LOCK, LOGIN)
    with temporary_settings({PREFECT_API_URL: "https://elsewhere.example/api"}), standing.server(tmp_path):
        assert not PREFECT_API_AUTH_STRING.value()
    with temporary_settings(restore_defaults={PREFECT_API_URL}), standing.server(tmp_path):
        assert PREFECT_API_AUTH_STRING.value(), "a temporary server of this process has the lock, too"


def test_a_key_of_the_cloud_does_not_open_the_projects_own_server(monkeypatch, locked):
    monkeypatch.setenv(standing.KEY, "a-key-of-the-cloud")
    with pytest.raises(standing.LockedError):
        standing.check_login(locked)
    monkeypatch.setenv("PREFECT_API_URL", locked)
    standing.check_login(locked)


def test_a_locked_server_is_told_in_one_line_without_the_login(monkeypatch, locked):
    with pytest.raises(standing.LockedError, match="set PREFECT_API_AUTH_STRING to the value of its") as told:
        standing.check_login(locked)
    assert "another" not in str(told.value)
    monkeypatch.setenv(standing.LOGIN, "admin:planted-mistake")
    with pytest.raises(standing.LockedError, match="the one that is set is another") as told:
        standing.check_login(locked)
    assert "planted" not in str(told.value)
    monkeypatch.setenv(standing.LOGIN, LOGIN)
    standing.check_login(locked)
    assert LOGIN not in secrets.hide(f"the login is {LOGIN}")


def test_flows_by_hand_are_logged_in(monkeypatch, tmp_path, locked):
    monkeypatch.setattr(processes, "read", lambda _: processes.Process(1, "born", locked, "log"))
    with pytest.raises(standing.LockedError), standing.server(tmp_path):
        pass
    monkeypatch.setenv(standing.LOCK, LOGIN)
    with standing.server(tmp_path):
        assert PREFECT_API_URL.value() == locked
        found = PREFECT_API_AUTH_STRING.value()
        assert getattr(found, "get_secret_value", lambda: found)() == LOGIN
