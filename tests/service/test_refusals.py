"""Whatever is wrong with a request is a 4xx that says so, in one shape, and nothing of the server shows."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from service.web import Pictures
from support.bundles import png

RED = {"image": ("red.png", png("red"))}
ONE = {"texts": ["a red square"]}


def form(boundary: str, *parts: bytes) -> dict[str, object]:
    body = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    body += b"--" + boundary.encode() + b"--\r\n"
    return {"content": body, "headers": {"content-type": f"multipart/form-data; boundary={boundary}"}}


def part(name: str, value: bytes, file: str = "") -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{file}"' if file else "")
    return b"Content-Disposition: " + disposition.encode() + b"\r\n\r\n" + value


def large() -> bytes:
    out = BytesIO()
    Image.new("1", (5000, 5000)).save(out, "PNG")
    return out.getvalue()


FIELDS: dict[str, Any] = {"files": RED, "data": {"texts": ["red"] * 1001}}
CASES = {
    "no image": (400, "image: Field required", {"files": {"other": b"x"}, "data": ONE}),
    "no texts": (400, "texts: Field required", {"files": RED}),
    "no such field": (400, "another: Extra inputs", {"files": RED, "data": {**ONE, "another": "1"}}),
    "an address for an image": (
        400,
        "image: expected one uploaded file; addresses and texts are not fetched",
        form("b", part("image", b"http://127.0.0.1:1/x.png"), part("texts", b"a red square")),
    ),
    "two images": (400, "Too many files", {"files": [("image", png("red")), ("image", png("blue"))], "data": ONE}),
    "a file for a text": (400, "texts: expected text", form("b", part("texts", b"x", "t"))),
    "no picture": (400, "image: not_an_image", {"files": {"image": b"text"}, "data": ONE}),
    "an empty file": (400, "image: empty", {"files": {"image": ("i", b"")}, "data": ONE}),
    "a broken picture": (400, "image: truncated", {"files": {"image": png("red")[:-20]}, "data": ONE}),
    "too many pixels": (400, "image: too_many_pixels", {"files": {"image": large()}, "data": ONE}),
    "an empty text": (400, "texts[1]: String should have at least 1", {"files": RED, "data": {"texts": ["a", ""]}}),
    "a text without a word": (400, "texts[0]: empty", {"files": RED, "data": {"texts": ["?!"]}}),
    "a number of five thousand digits": (
        400,
        "texts[0]: String should have at most 1000",
        {"files": RED, "data": {"texts": "[" + "1" * 5000}},
    ),
    "a text of too many words": (400, "texts[0]: too_long", {"files": RED, "data": {"texts": ["red " * 11]}}),
    "a text too long to look at": (
        400,
        "texts[0]: String should have at most 1000",
        {"files": RED, "data": {"texts": ["r" * 1001]}},
    ),
    "too many texts": (400, "texts: List should have at most 8", {"files": RED, "data": {"texts": ["red"] * 9}}),
    "more fields than a form may have": (400, "the form cannot be read: Too many fields", FIELDS),
    "numbers for texts": (400, "texts[0]: Input should be a valid string", {"files": RED, "data": {"texts": "[1]"}}),
    "half a character": (400, "texts[0]", {"files": RED, "data": {"texts": '["\\ud800"]'}}),
    "JSON": (415, "expected multipart/form-data", {"json": {"image": "x", "texts": ["x"]}}),
    "a pickle": (
        415,
        "application/vnd.bentoml+pickle",
        {"content": b"\x80\x05N.", "headers": {"content-type": "application/vnd.bentoml+pickle"}},
    ),
    "no body": (415, "found none", {}),
    "no boundary": (400, "the form", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}),
    "a broken form": (
        400,
        "the form cannot be read",
        {"content": b"nonsense", "headers": {"content-type": "multipart/form-data; boundary=x"}},
    ),
    "too many bytes": (413, "more than 200000 bytes", {"files": {"image": b"x" * 200_001}, "data": ONE}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_request_is_refused_with_a_reason(client: httpx.Client, case: str) -> None:
    status, reason, request = CASES[case]
    answer = client.post("/match", **request)
    assert (answer.status_code, reason in answer.json()["error"]) == (status, True), answer.text
    assert answer.json().keys() == {"error", "request_id"}
    assert answer.headers["content-type"] == "application/json"
    assert not {"Traceback", ".py", "site-packages", "/tmp"} & set(answer.text.split())


LACKING = {
    "ask": ("vqa", {"files": RED, "data": {"question": "what is it?"}}),
    "caption": ("captioning", {"files": RED}),
    "classify": ("classification", {"files": RED}),
    "segment": ("segmentation", {"files": RED, "data": {"text": "the circle"}}),
    "generate": ("generation", {"json": {"text": "a circle", "seed": 1}}),
    "embed_image": ("retrieval", {"files": RED}),
    "embed_text": ("retrieval", {"json": ONE}),
    "retrieve": ("retrieval", {"files": RED, "data": {"k": "3"}}),
}


@pytest.mark.parametrize("name", LACKING)
def test_what_the_bundle_cannot_answer_is_404_with_what_it_can(client: httpx.Client, name: str) -> None:
    task, request = LACKING[name]
    answer = client.post(f"/{name}", **request)
    assert answer.status_code == 404, answer.text
    assert answer.json()["error"] == f"/{name} needs the task {task!r}; this bundle holds matching"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "EOF"),
        (b"{", "EOF"),
        (b"[1]", "Input should be an object"),
        (b"\xff", "expected value"),
        (b"[" * 100_000, "recursion limit"),
        (b'{"texts": "a"}', "texts: Input should be a valid array"),
        (b'{"texts": ["a"], "more": 1}', "more: Extra inputs"),
    ],
)
def test_json_that_cannot_be_is_refused(client: httpx.Client, body: bytes, reason: str) -> None:
    answer = client.post("/embed_text", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, reason in answer.json()["error"]) == (400, True), answer.text


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(client: httpx.Client) -> None:
    def pieces():
        for _ in range(300):
            yield b"x" * 1000

    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/match", content=pieces(), headers=kind).status_code == 413


def test_what_is_not_there_is_404_and_what_is_not_meant_405(client: httpx.Client) -> None:
    missing = client.get("/nothing/here")
    assert (missing.status_code, missing.json()["error"]) == (404, "not found")
    wrong = client.get("/match")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    for path in ("/page/../app.py", "/page/..%2fapp.py", "/samples/..%2f..%2fapp.py", "/page/%00"):
        assert client.get(path).status_code == 404, path


def test_an_error_page_carries_the_headers_that_keep_browsers_safe(client: httpx.Client) -> None:
    for answer in (client.get("/"), client.get("/nothing"), client.post("/match", json={})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize("name", ["image", "texts"])
def test_a_field_name_that_is_no_text_is_refused(client: httpx.Client, name: str) -> None:
    wrong = form("b", part(name + "\x00", b"x"), b"no header at all")
    answer = client.post("/match", **wrong)
    assert answer.status_code == 400, answer.text
    assert json.loads(answer.text)["error"]


def test_of_the_samples_folder_nothing_but_its_pictures_is_served(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a.png", ".hidden.png", "notes.txt", ".env", "below/b.png"):
        (tmp_path / name).write_bytes(png("red"))
    client = TestClient(Starlette(routes=[Mount("/", Pictures(directory=tmp_path))]))
    assert client.get("/a.png").content == png("red")
    for name in (".hidden.png", "notes.txt", ".env", "below/b.png", "below/../.env", "", "b.png"):
        assert client.get(f"/{name}").status_code == 404, name
