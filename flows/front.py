"""The address that clients know: passes each request on to the version that ``target.json`` names at that moment.

A switch is one file renamed. Requests that are under way end where they began, the next one goes to the new version,
and clients keep their connections. docs/decisions/0021 says why this and not nginx.

    python -m flows.front FOLDER --host 127.0.0.1 --port 3000
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

TARGET = "target.json"
STATUS = "/-/front"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
IDLE_S = 2.0
"""Connections to a server are closed after this, before the server closes them (uvicorn: 5 s) under a request."""
TIMEOUT_S = 120.0
ATTEMPTS, PAUSE_S = 40, 0.05
"""Connecting again, while nothing of a request has been sent."""
# Of one connection, not of the message: RFC 9110, 7.6.1. The client library writes its own host and length.
_HOPS = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-authorization", "host"}


@dataclass(slots=True)
class Front:
    """Where requests go, and how they were answered."""

    folder: Path
    client: httpx.AsyncClient
    _stamp: tuple[int, int] = (0, 0)
    _target: dict[str, str] | None = None
    in_flight: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def target(self) -> dict[str, str] | None:
        """``version`` and ``url`` of the server in use; read again only when the file is another one."""
        path = self.folder / TARGET
        try:
            found = path.stat()
            stamp = (found.st_ino, found.st_mtime_ns)
            if stamp != self._stamp:
                self._target = json.loads(path.read_text(encoding="utf-8"))
                self._stamp = stamp
        except FileNotFoundError:
            self._stamp, self._target = (0, 0), None
        return self._target

    async def status(self, _: Request) -> Response:
        """The counts, by version."""
        counts = {"in_flight": +self.in_flight, "answered": self.answered, "failed": self.failed}
        return JSONResponse({"target": self.target(), **{name: dict(count) for name, count in counts.items()}})

    async def forward(self, request: Request) -> Response:
        """Pass one request on, and its answer back, both as streams."""
        for _ in range(ATTEMPTS):
            target = self.target()
            if target is None:
                return _problem(503, "no version is in production")
            version = target["version"]
            self.in_flight[version] += 1
            try:
                answer = await self.client.send(self._outgoing(request, target["url"]), stream=True)
            except httpx.ConnectError:
                self.in_flight[version] -= 1
                await asyncio.sleep(PAUSE_S)
                continue
            except httpx.TransportError as error:
                self.in_flight[version] -= 1
                self._count(version, 502)
                return _problem(502, f"{version}: {type(error).__name__}")
            except BaseException:  # the client is gone
                self.in_flight[version] -= 1
                raise
            self._count(version, answer.status_code)
            passed = _Passed(self._body(answer, version), answer.status_code)
            passed.end = partial(self._close, answer, version)
            passed.raw_headers = [(k, v) for k, v in answer.headers.raw if k.lower().decode("latin-1") not in _HOPS]
            return passed
        self._count(version, 502)
        return _problem(502, f"{version} does not answer")

    def _outgoing(self, request: Request, url: str) -> httpx.Request:
        headers = [(k, v) for k, v in request.headers.raw if k.decode("latin-1") not in _HOPS]
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        query = request.url.query
        # As it was sent: decoded, a %3F in it would begin the query.
        path = request.scope["raw_path"].partition(b"?")[0].decode("latin-1")
        return self.client.build_request(
            request.method,
            url + path + (f"?{query}" if query else ""),
            headers=headers,
            content=request.stream() if has_body else None,
        )

    def _count(self, version: str, status: int) -> None:
        self.answered[version] += 1
        self.failed[version] += status >= 500

    async def _body(self, answer: httpx.Response, version: str) -> AsyncIterator[bytes]:
        """The answer's body; where the server ends in the middle of it, so does the connection to the client."""
        try:
            async for part in answer.aiter_raw():
                yield part
        except httpx.TransportError:
            self.failed[version] += answer.status_code < 500  # else it is counted already
            raise

    async def _close(self, answer: httpx.Response, version: str) -> None:
        try:
            await answer.aclose()
        finally:
            self.in_flight[version] -= 1


class _Passed(StreamingResponse):
    """An answer that is passed on, and ``end`` whatever becomes of it: a request that died is not under way."""

    end: Callable[[], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self.end()


def _problem(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status, headers={"Retry-After": "1"})


def application(folder: Path, client: httpx.AsyncClient) -> Starlette:
    """The front of the servers whose state is in ``folder``, reached by ``client``."""
    front = Front(folder, client)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        yield
        await client.aclose()

    routes = [Route(STATUS, front.status), Route("/{path:path}", front.forward, methods=METHODS)]
    return Starlette(routes=routes, lifespan=life)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.front", description="Pass requests on to the version in use."
    )
    parser.add_argument("folder", type=Path, help=f"holds {TARGET}")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    arguments = parser.parse_args()
    limits = httpx.Limits(max_connections=None, keepalive_expiry=IDLE_S)
    client = httpx.AsyncClient(limits=limits, timeout=TIMEOUT_S, trust_env=False)
    uvicorn.run(application(arguments.folder, client), host=arguments.host, port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
