"""The guard around a small application, driven message by message; and around the real service, with a key."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from service.guard import Guard
from service.settings import Settings
from support.bundles import png
from support.served import Server

KEY = "a-key-of-good-length"


async def call(
    guard: Guard,
    path: str = "/match",
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    pieces: tuple[bytes, ...] = (b"",),
    pause: float = 0,
) -> tuple[int, dict[str, str], Any]:
    """One request and its answer: status, headers, JSON."""
    waiting = list(pieces)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    await guard({"type": "http", "method": method, "path": path, "headers": raw}, receive, send)
    start, *bodies = sent
    assert len([message for message in sent if message["type"] == "http.response.start"]) == 1
    told = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], told, json.loads(b"".join(message["body"] for message in bodies))


def guarded(app: Callable[..., Awaitable[None]], **settings: Any) -> Guard:
    return Guard(app, Settings(**settings), frozenset({"/match"}))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(len(body)).encode()})


def test_a_body_arrives_whole() -> None:
    assert asyncio.run(call(guarded(echo), pieces=(b"abc", b"", b"de")))[::2] == (200, 5)


def test_a_body_above_the_limit_is_refused_before_it_is_read() -> None:
    status, headers, body = asyncio.run(call(guarded(echo, max_bytes=1000), headers={"Content-Length": "1001"}))
    assert (status, headers["connection"]) == (413, "close")
    assert "more than 1000 bytes" in body["error"]
    assert asyncio.run(call(guarded(echo, max_bytes=1000), pieces=(b"x" * 600, b"x" * 401)))[0] == 413
    assert asyncio.run(call(guarded(echo, max_bytes=1000), pieces=(b"x" * 600, b"x" * 400)))[0] == 200


def test_a_body_that_does_not_come_is_refused_in_time() -> None:
    begun = time.monotonic()
    status, _, body = asyncio.run(call(guarded(echo, upload_timeout_s=0.05), pieces=(b"x",), pause=5))
    assert (status, time.monotonic() - begun < 2) == (408, True)
    assert "longer than 0.05 s" in body["error"]


class Slow:
    """Answers when it is told to; counts how many it holds."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.held = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.held += 1
        await self.go.wait()
        await echo(scope, receive, send)


def test_one_request_too_many_is_refused_at_once_and_the_others_are_answered() -> None:
    async def play() -> None:
        slow = Slow()
        guard = guarded(slow, max_concurrency=2)
        held = [asyncio.create_task(call(guard)) for _ in range(2)]
        await asyncio.sleep(0.01)
        status, headers, body = await call(guard)
        assert (status, headers["retry-after"]) == (429, "1")
        assert "2 predictions" in body["error"]
        slow.go.set()
        assert [(await task)[0] for task in held] == [200, 200]
        assert (await call(guard))[0] == 200

    asyncio.run(play())


def test_a_body_that_still_comes_has_a_place_already() -> None:
    async def play() -> None:
        guard = guarded(echo, max_concurrency=2, upload_timeout_s=0.3)
        held = [asyncio.create_task(call(guard, pieces=(b"a", b"b"), pause=9)) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert (await call(guard, pieces=(b"c",)))[0] == 429
        assert [(await task)[0] for task in held] == [408, 408]
        assert (await call(guard, pieces=(b"c",)))[0] == 200
        assert guard.taken == 0

    asyncio.run(play())


def test_a_body_is_held_by_its_endpoint_alone() -> None:
    async def count(_: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        holders = sys.getrefcount(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(holders).encode()})

    body = b"two pieces make a body of its own"
    assert asyncio.run(call(guarded(count), pieces=(body, body)))[2] == 2  # the name, and the counting of it


def test_pages_and_health_are_answered_whatever_waits() -> None:
    async def play() -> None:
        slow = Slow()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await (slow if scope["path"] == "/match" else echo)(scope, receive, send)

        guard = guarded(app, max_concurrency=1)
        held = asyncio.create_task(call(guard))
        await asyncio.sleep(0.01)
        assert (await call(guard, "/readyz", method="GET"))[0] == 200
        slow.go.set()
        await held

    asyncio.run(play())


def test_workers_share_the_places() -> None:
    assert guarded(echo, max_concurrency=5, workers=2).places == 3


def test_a_prediction_that_cannot_be_stopped_is_answered_in_time_and_keeps_its_place() -> None:
    async def play() -> None:
        done = threading.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            running = asyncio.get_running_loop().run_in_executor(None, done.wait)
            while not running.done():
                try:
                    await asyncio.shield(running)
                except asyncio.CancelledError:
                    continue
            await echo(scope, receive, send)

        guard = guarded(app, max_concurrency=1, timeout_s=0.05)
        status, headers, body = await call(guard)
        assert (status, headers["retry-after"], "0.05 s" in body["error"]) == (503, "5", True)
        assert (await call(guard))[0] == 429
        done.set()
        await asyncio.gather(*guard.unfinished)
        assert guard.taken == 0

    asyncio.run(play())


def test_a_failure_shows_nothing_of_itself() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": [(b"x-secret", b"1")]})
        await send({"type": "http.response.body", "body": b'{"error": "/srv/app.py: secret"}'})

    status, headers, body = asyncio.run(call(guarded(app)))
    assert status == 500
    assert "secret" not in json.dumps([headers, body])
    assert body["request_id"] == headers["x-request-id"]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {KEY}", 200),
        (f"bearer  {KEY}", 200),
        ("", 401),
        ("Bearer", 401),
        (f"Bearer {KEY[:-1]}", 401),
        (f"Bearer {KEY}x", 401),
        (f"Basic {KEY}", 401),
        (KEY, 401),
        ("Bearer ÿ", 401),
    ],
)
def test_only_the_key_opens(given: str, status: int) -> None:
    headers = {"Authorization": given} if given else {}
    found = asyncio.run(call(guarded(echo, api_key=KEY), headers=headers))
    assert found[0] == status
    assert KEY not in json.dumps(found)


def test_a_served_bundle_with_a_key(locked: tuple[Server, str]) -> None:
    server, key = locked
    request = {"files": {"image": png("red")}, "data": {"texts": "a red square"}}
    with httpx.Client(base_url=server.url, timeout=30) as client:
        assert {client.get(path).status_code for path in ("/", "/livez", "/readyz", "/page/app.js")} == {200}
        shut = ("/tasks", "/lineage", "/docs.json", "/metrics", "/schema.json", "/nothing", "/samples/01.jpg")
        assert {client.get(path).status_code for path in shut} == {401}
        refused = client.post("/match", **request)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        client.headers["Authorization"] = f"Bearer {key}"
        assert client.post("/match", **request).json()["answers"][0]["decision"] == "true"
        assert client.get("/samples/01.jpg").headers["content-type"] == "image/jpeg"
        assert client.get("/docs.json").json()["security"] == [{"key": []}]
        assert 'vlp_batch_size_sum{task="matching"}' in client.get("/metrics").text  # of both workers
    assert key not in (server.folder / "log").read_text()
