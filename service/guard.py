"""What stands before every endpoint: request id, API key, size, time, concurrency, and one shape for errors.

BentoML's own limits do not tell pages from predictions, count requests before the key is checked, and answer
in several shapes; so they are only the backstop behind this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import metrics
from service.settings import Settings

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that this code runs for."""

OPEN = frozenset({"/livez", "/readyz", "/healthz", "/"})
"""Paths that need no key: health, and the page, which then asks for one."""
OPEN_FOLDERS = ("/page/",)
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'"
HEADERS = {
    "content-security-policy": f"{POLICY}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OUR_FAULT = "the request could not be answered; the server's log has the reason under this request_id"

log = logging.getLogger("vlp.service")


@dataclass
class RefusedError(Exception):
    """A request that goes no further."""

    status: HTTPStatus
    message: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Exchange:
    """One request and its answer, as the log tells of it."""

    id: str
    method: str
    path: str
    started: float = field(default_factory=time.perf_counter)
    status: int = 0
    received: int = 0
    route: str = "other"


class Guard:
    """ASGI middleware.

    Args:
        app: what it guards.
        settings: key and limits.
        endpoints: paths of the predictions, whose number at a time is bounded.
    """

    def __init__(self, app: ASGIApp, settings: Settings, endpoints: frozenset[str]) -> None:
        self.app = app
        self.settings = settings
        self.endpoints = endpoints
        self.places = -(-settings.max_concurrency // settings.workers)
        self.taken = 0
        self.unfinished = set[asyncio.Task[None]]()
        key = settings.api_key
        self.key = None if key is None else _digest(key.get_secret_value())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        exchange = Exchange(
            id=given if _GIVEN_ID.fullmatch(given) else uuid.uuid4().hex, method=scope["method"], path=scope["path"]
        )
        if exchange.path in self.endpoints or exchange.path in OPEN:
            exchange.route = exchange.path
        token = REQUEST_ID.set(exchange.id)
        answer = Answer(send, exchange)
        try:
            self._authorise(exchange.path, headers)
            if exchange.path in self.endpoints and exchange.method == "POST":
                await self._bounded(scope, headers, receive, answer)
            else:
                await self.app(scope, receive, answer)
        except RefusedError as refusal:
            await answer.refuse(refusal)
        finally:
            _report(exchange)
            REQUEST_ID.reset(token)

    def _authorise(self, path: str, headers: dict[str, str]) -> None:
        if self.key is None or path in OPEN or path.startswith(OPEN_FOLDERS):
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else ""
        if not hmac.compare_digest(_digest(given), self.key):
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "this service needs its API key: Authorization: Bearer <key>",
                {"www-authenticate": "Bearer"},
            )

    async def _body(self, headers: dict[str, str], receive: Receive, exchange: Exchange) -> bytes:
        limit = self.settings.max_bytes
        refusal = RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request has more than {limit} bytes", {"connection": "close"}
        )
        if (told := headers.get("content-length", "")).isdecimal() and int(told) > limit:
            raise refusal
        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(self.settings.upload_timeout_s):
                while (message := await receive())["type"] == "http.request":
                    pieces.append(message.get("body", b""))
                    exchange.received += len(pieces[-1])
                    if exchange.received > limit:
                        raise refusal
                    if not message.get("more_body", False):
                        return b"".join(pieces)
        except TimeoutError:
            late = f"the request's body took longer than {self.settings.upload_timeout_s:g} s"
            raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, late, {"connection": "close"}) from None
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the connection closed before the request's body was complete")

    async def _bounded(self, scope: Scope, headers: dict[str, str], receive: Receive, answer: Answer) -> None:
        """Run the endpoint if there is a place for it, and answer when its time is up, finished or not.

        The place is taken before the body is read: else any number of bodies would lie in memory.
        """
        if self.taken >= self.places:
            raise RefusedError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{self.taken} predictions are waiting or running already; try again shortly",
                {"retry-after": "1"},
            )
        self.taken += 1
        metrics.IN_FLIGHT.inc()
        try:
            whole = _replayed(await self._body(headers, receive, answer.exchange))
        except BaseException:
            self._release()
            raise
        task = asyncio.create_task(self._run(scope, whole, answer))
        self.unfinished.add(task)
        task.add_done_callback(self._finished)
        del whole  # the endpoint has it alone, and drops it when it is read
        done, _ = await asyncio.wait({task}, timeout=self.settings.timeout_s)
        if done:
            await task
            return
        # A prediction that runs cannot be stopped: it keeps its place until it is through, so that what is
        # admitted stays bounded. One that still waits is taken out of the queue.
        task.cancel()
        refusal = RefusedError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"no answer within {self.settings.timeout_s:g} s; try again later",
            {"retry-after": "5"},
        )
        await answer.refuse(refusal)
        answer.closed = True

    async def _run(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        await self.app(scope, receive, answer)

    def _release(self) -> None:
        self.taken -= 1
        metrics.IN_FLIGHT.dec()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._release()
        self.unfinished.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("prediction failed", exc_info=error)


def _digest(key: str) -> bytes:
    """Of one length whatever the key's, so that comparing takes one time."""
    return hashlib.sha256(key.encode()).digest()


def _replayed(body: bytes) -> Receive:
    """A receive channel that holds the whole body, then waits for ever, as a client that stays does."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if waiting:
            return waiting.pop()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("never reached")

    return receive


class Answer:
    """A send channel: adds our headers, and gives every error one shape, ``{"error", "request_id"}``."""

    def __init__(self, send: Send, exchange: Exchange) -> None:
        self.send = send
        self.exchange = exchange
        self.closed = False
        self._held: Message | None = None
        self._pieces: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        """Pass ``message`` on, or hold it back until an error's body is complete."""
        if self.closed:
            return
        if message["type"] == "http.response.start":
            self.exchange.status = message["status"]
            if message["status"] >= HTTPStatus.BAD_REQUEST:
                self._held = message
                return
            await self.send({**message, "headers": [*message["headers"], *self._headers()]})
            return
        if self._held is None or message["type"] != "http.response.body":
            await self.send(message)
            return
        self._pieces.append(bytes(message.get("body", b"")))
        if not message.get("more_body", False):
            held, self._held = self._held, None
            kept = {b"allow", b"www-authenticate", b"retry-after"}
            headers = {name.decode(): value.decode() for name, value in held["headers"] if name in kept}
            text = _OUR_FAULT if held["status"] >= 500 else _message(b"".join(self._pieces), held["status"])
            await self._error(held["status"], text, headers)

    async def refuse(self, refusal: RefusedError) -> None:
        """Answer with an error, unless an answer has begun."""
        if self.exchange.status and self._held is None:
            return
        await self._error(refusal.status, refusal.message, refusal.headers)

    async def _error(self, status: int, message: str, headers: dict[str, str]) -> None:
        self.exchange.status = int(status)
        body = json.dumps({"error": message, "request_id": self.exchange.id}).encode()
        own = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        raw = [(name.encode(), value.encode()) for name, value in own.items()]
        await self.send({"type": "http.response.start", "status": int(status), "headers": [*raw, *self._headers()]})
        await self.send({"type": "http.response.body", "body": body})

    def _headers(self) -> list[tuple[bytes, bytes]]:
        own = {**HEADERS, "x-request-id": self.exchange.id}
        return [(name.encode(), value.encode()) for name, value in own.items()]


def _message(body: bytes, status: int) -> str:
    """What BentoML or Starlette said, out of the shapes they say it in."""
    found: Any = None
    with contextlib.suppress(ValueError):
        found = json.loads(body)
    if isinstance(found, list) and found:
        found = found[0]
    if isinstance(found, MutableMapping) and isinstance(found.get("error"), str):
        return str(found["error"])
    return HTTPStatus(status).phrase.lower()


def _report(exchange: Exchange) -> None:
    seconds = time.perf_counter() - exchange.started
    metrics.REQUESTS.labels(exchange.route, str(exchange.status)).inc()
    metrics.REQUEST_SECONDS.labels(exchange.route).observe(seconds)
    log.info(
        "request",
        extra={
            "method": exchange.method,
            "path": exchange.path[:200],
            "status": exchange.status,
            "ms": round(seconds * 1000, 2),
            "bytes": exchange.received,
        },
    )
