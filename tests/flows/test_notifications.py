"""Whoever is to be told is told, and nothing fails when that fails."""

from __future__ import annotations

import importlib
import logging

import pytest
from ruamel.yaml import YAML

from flows import arrivals, notifications
from flows.settings import Notifications
from support.pipelines import PROJECT

CHOSEN = Notifications(block=None, events=("failed", "promoted"))


def test_it_is_off_by_default(monkeypatch, caplog):
    monkeypatch.delenv(notifications.WEBHOOK, raising=False)
    notifications.tell(CHOSEN, "failed", "subject", "text")
    assert caplog.messages == []


def test_a_webhook_that_is_not_there_is_an_error_in_the_log_without_its_address(monkeypatch, caplog):
    monkeypatch.setenv(notifications.WEBHOOK, "http://127.0.0.1:9/planted-path")
    with caplog.at_level(logging.ERROR):
        notifications.tell(CHOSEN, "failed", "subject", "text")
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("FLOWS_WEBHOOK_URL not told of 'failed'")
    assert "planted-path" not in caplog.text


def test_a_webhook_that_is_down_keeps_no_news_from_the_block(monkeypatch, caplog):
    told: list[tuple[str, str]] = []

    class Heard:
        def notify(self, text: str, subject: str) -> None:
            told.append((subject, text))

    monkeypatch.setenv(notifications.WEBHOOK, "http://127.0.0.1:9/planted-path")
    monkeypatch.setattr(notifications, "_block", lambda _: Heard())
    both = CHOSEN.model_copy(update={"block": "custom-webhook/alerts"})
    notifications.tell(both, "failed", "subject", "text")
    assert told == [("subject", "text")]
    assert [message.split(" not told")[0] for message in caplog.messages] == [notifications.WEBHOOK]


def test_events_that_nobody_asked_for_are_not_sent(monkeypatch, caplog):
    monkeypatch.setenv(notifications.WEBHOOK, "http://127.0.0.1:9/planted-path")
    notifications.tell(CHOSEN, "drift", "subject", "text")
    assert caplog.messages == []


@pytest.mark.soak
@pytest.mark.usefixtures("server")
def test_a_saved_block_is_told(tmp_path, monkeypatch):
    """Any notification block of Prefect: here its webhook, to a receiver on loopback."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    heard: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    monkeypatch.delenv(notifications.WEBHOOK, raising=False)
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        block = CustomWebhookNotificationBlock(
            name="alerts", url=f"http://127.0.0.1:{server.server_port}", json_data={"text": "{{subject}}: {{body}}"}
        )
        block.save("alerts", overwrite=True)
        chosen = CHOSEN.model_copy(update={"block": "custom-webhook/alerts"})
        notifications.tell(chosen, "promoted", "v2", "is in production")
        thread.join()
    assert heard == [b'{"text":"v2: is in production"}']


@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_a_look_that_fails_again_and_again_is_told_once_until_it_succeeds_or_fails_otherwise(project, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(notifications, "tell", lambda _, event, subject, text: told.append(text))
    for why in ("it is locked", "it is locked", None, "it is locked", "it is gone"):

        def look(_: object, why: str | None = why) -> str:
            if why is not None:
                raise OSError(why)
            return ""

        monkeypatch.setattr(arrivals.incoming, "fingerprint", look)
        arrivals.arrivals(str(project), return_state=True)
    assert [text.rpartition(": ")[2] for text in told] == ["it is locked", "it is locked", "it is gone"]


def test_every_deployment_tells_of_its_failure_and_its_crash():
    deployments = YAML(typ="safe").load(PROJECT / "prefect.yaml")["deployments"]
    for entrypoint in (each["entrypoint"] for each in deployments):
        path, name = entrypoint.split(".py:")
        found = getattr(importlib.import_module(path.replace("/", ".")), name)
        hook = notifications.on_new_failure if name == "arrivals" else notifications.on_failure
        assert found.on_failure_hooks == found.on_crashed_hooks == [hook], entrypoint
