from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import fsspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vlp.data.raw.root import Local, RemoteError, Root, RootError, open_root


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address that a real HTTP server gives it."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def memory() -> tuple[Root, str]:
    fsspec.filesystem("memory").pipe({"/bucket/in/a.png": b"a", "/bucket/secret": b"secret"})
    return open_root(Path("nowhere"), "memory://bucket/in"), "memory://bucket/in"


def test_a_file_below_the_root_is_read_and_another_is_not(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.png").write_bytes(b"a")
    (tmp_path / "b.png").write_bytes(b"b")
    root = open_root(tmp_path / "root", None)
    assert root.read("a.png", 9) == (b"a", "")
    assert root.read("../b.png", 9) == (b"", "not a path below the root")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.text(alphabet=st.one_of(st.sampled_from("./\\%2e2f~\0a-"), st.characters()), max_size=30))
@example("\ud800")
@example("a" * 5000)
@example("..%2f..%2fsecret")
@example("%2e%2e/secret")
def test_no_name_reads_a_byte_from_outside_the_root(tmp_path: Path, name: str) -> None:
    (tmp_path / "root").mkdir(exist_ok=True)
    (tmp_path / "secret").write_bytes(b"secret")
    assert Local(tmp_path / "root").read(name, 99)[0] == b""
    data, problem = memory()[0].read(name, 99)
    assert (data, bool(problem)) in ((b"", True), (b"a", False))


def test_a_remote_folder_is_read_like_a_local_one() -> None:
    root, url = memory()
    assert root.read("a.png", 1) == (b"a", "")
    assert root.read("a.png", 0)[1].startswith("more than 0 bytes")
    assert root.read("b.png", 9) == (b"", f"no such file below {url}")
    assert list(root.files()) == ["a.png"]


def test_pictures_come_over_http(served: tuple[Path, str]) -> None:
    folder, url = served
    (folder / "a b.png").write_bytes(b"x" * 100_000)
    root = open_root(Path("nowhere"), f"{url}/")
    assert root.read("a b.png", 100_000) == (b"x" * 100_000, "")
    assert root.read("a b.png", 99_999)[0] == b""
    assert root.read("none.png", 9)[1].startswith("no such file below")
    for name in ("a#1.png", "what?.png", "50%20off.png", "über.png"):
        (folder / name).write_bytes(name.encode())
        assert root.read(name, 99) == (name.encode(), "")
    assert root.read("a%20b.png", 100_000) == (b"x" * 100_000, ""), "as it stands in an address"
    assert root.read("a b.png?x", 9)[1].startswith("no such file below"), "no file of a shorter name"


def test_a_remote_that_fails_stops_the_stage_rather_than_lose_records() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(RemoteError, match=rf"127\.0\.0\.1:{port}: a\.png: "):
        open_root(Path("nowhere"), f"http://127.0.0.1:{port}").read("a.png", 9)


@pytest.mark.parametrize(
    ("remote", "message"), [("nothing://a", "nothing://a: "), ("dropbox://a", "needs another package")]
)
def test_an_address_that_nothing_opens_is_one_line(remote: str, message: str) -> None:
    with pytest.raises(RootError, match=message):
        open_root(Path("nowhere"), remote)
