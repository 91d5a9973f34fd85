"""The front passes each request to the version in use, whole, and says how it was answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from flows import front, processes


def backend(name: str) -> Starlette:
    """A server that tells what it got."""

    async def echo(request: Request) -> Response:
        body = (await request.body()).decode()
        heard = {"version": name, "method": request.method, "url": str(request.url), "body": body}
        heard["path"] = request.scope["raw_path"].partition(b"?")[0].decode()
        return JSONResponse(heard | {"headers": dict(request.headers)}, 201, headers={"x-own": "yes"})

    async def stream(_: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for part in range(3):
                yield b"%d" % part

        return StreamingResponse(parts())

    async def broken(_: Request) -> Response:
        return PlainTextResponse("out of order", 500)

    methods = ["GET", "POST", "DELETE"]
    return Starlette(
        routes=[Route("/stream", stream), Route("/broken", broken), Route("/{path:path}", echo, methods=methods)]
    )


class Dying(httpx.AsyncByteStream):
    """The body of an answer whose server is killed in the middle of it; the connection cannot even be closed."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"half an "
        raise httpx.ReadError("connection reset by peer")

    async def aclose(self) -> None:
        raise httpx.CloseError("connection reset by peer")


class Network(httpx.AsyncBaseTransport):
    """Servers by host name; one that is not there refuses the connection."""

    def __init__(self, **hosts: Starlette) -> None:
        self.hosts = {name: httpx.ASGITransport(app) for name, app in hosts.items()}
        self.refused = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "dying":
            return httpx.Response(200, stream=Dying())
        if request.url.host not in self.hosts:
            self.refused += 1
            raise httpx.ConnectError("refused", request=request)
        return await self.hosts[request.url.host].handle_async_request(request)


@pytest.fixture
def network() -> Network:
    return Network(old=backend("v1"), new=backend("v2"))


def ask(folder: Path, network: Network, questions: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    """Ask the front of ``folder`` whatever ``questions`` asks."""

    async def run() -> None:
        app = front.application(folder, httpx.AsyncClient(transport=network))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://front") as client:
            await questions(client)

    asyncio.run(run())


def switch(folder: Path, version: str, host: str) -> None:
    processes.write_json(folder / front.TARGET, {"version": version, "url": f"http://{host}"})


def test_a_request_and_its_answer_pass_whole(tmp_path, network):
    switch(tmp_path, "v1", "old")

    async def questions(client: httpx.AsyncClient) -> None:
        answer = await client.post("/match?a=1&b=%20", content=b"body", headers={"authorization": "Bearer x"})
        heard = answer.json()
        assert (answer.status_code, answer.headers["x-own"]) == (201, "yes")
        assert (heard["method"], heard["body"]) == ("POST", "body")
        assert heard["url"] == "http://old/match?a=1&b=%20"
        assert heard["headers"]["authorization"] == "Bearer x"
        assert heard["headers"]["content-length"] == "4"
        assert (await client.get("/stream")).text == "012"
        assert (await client.delete("/x")).json()["method"] == "DELETE"

    ask(tmp_path, network, questions)


def test_the_next_request_after_a_switch_goes_to_the_new_version(tmp_path, network):
    async def questions(client: httpx.AsyncClient) -> None:
        none = await client.get("/")
        assert (none.status_code, none.headers["retry-after"]) == (503, "1")
        for version, host in (("v1", "old"), ("v2", "new"), ("v1", "old")):
            switch(tmp_path, version, host)
            assert (await client.get("/")).json()["version"] == version
        (tmp_path / front.TARGET).unlink()
        assert (await client.get("/")).status_code == 503

    ask(tmp_path, network, questions)


def test_answers_are_counted_by_version(tmp_path, network):
    async def questions(client: httpx.AsyncClient) -> None:
        switch(tmp_path, "v1", "old")
        assert (await client.get("/")).status_code == 201
        assert (await client.get("/broken")).status_code == 500
        switch(tmp_path, "v2", "new")
        await client.get("/")
        status = (await client.get(front.STATUS)).json()
        assert status["target"]["version"] == "v2"
        assert status["answered"] == {"v1": 2, "v2": 1}
        assert status["failed"] == {"v1": 1, "v2": 0}
        assert status["in_flight"] == {}

    ask(tmp_path, network, questions)


def test_a_server_that_is_not_there_is_asked_again_until_another_takes_its_place(tmp_path, network, monkeypatch):
    monkeypatch.setattr(front, "PAUSE_S", 0.01)

    async def questions(client: httpx.AsyncClient) -> None:
        switch(tmp_path, "v1", "gone")
        waiting = asyncio.create_task(client.post("/", content=b"body"))
        while not network.refused:
            await asyncio.sleep(0.001)
        switch(tmp_path, "v2", "new")
        assert (await waiting).json()["body"] == "body"
        switch(tmp_path, "v1", "gone")
        answer = await client.get("/")
        assert (answer.status_code, answer.json()) == (502, {"error": "v1 does not answer"})

    ask(tmp_path, network, questions)


def test_the_target_is_read_only_when_it_is_another(tmp_path, network, monkeypatch):
    reads = []
    real = json.loads
    monkeypatch.setattr(front.json, "loads", lambda text: reads.append(text) or real(text))
    switch(tmp_path, "v1", "old")

    async def questions(client: httpx.AsyncClient) -> None:
        for _ in range(5):
            await client.head("/stream")

    ask(tmp_path, network, questions)
    assert len(reads) == 1


def test_a_server_that_dies_in_the_middle_of_an_answer_has_failed_and_leaves_nothing_under_way(tmp_path, network):
    switch(tmp_path, "v1", "dying")

    async def questions(client: httpx.AsyncClient) -> None:
        with pytest.raises(httpx.CloseError):
            await client.get("/stream")
        told = (await client.get(front.STATUS)).json()
        assert (told["in_flight"], told["answered"], told["failed"]) == ({}, {"v1": 1}, {"v1": 1})

    ask(tmp_path, network, questions)


def test_a_path_passes_as_it_was_sent(tmp_path, network):
    switch(tmp_path, "v1", "old")

    async def questions(client: httpx.AsyncClient) -> None:
        heard = (await client.get("/a%3Fb%2Fc%25?d=%20")).json()
        assert (heard["path"], heard["url"].partition("?")[2]) == ("/a%3Fb%2Fc%25", "d=%20")

    ask(tmp_path, network, questions)
