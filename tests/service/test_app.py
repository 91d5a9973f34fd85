"""The service through real HTTP."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from support.bundles import COLOURS, IMAGE_PARAMS, png
from support.served import Server
from vlp.preprocessing.image import ImageParams
from vlp.runtime.predictor import Predictor
from vlp.runtime.served import Served

TEXTS = ["a red square", "a blue square", "a purple circle"]


def ask(client: httpx.Client, image: bytes = b"", texts: list[str] | None = None, **more: object) -> httpx.Response:
    data = {"texts": TEXTS if texts is None else texts}
    return client.post("/match", files={"image": ("picture", image or png("red"))}, data=data, **more)


def test_served_answers_are_those_of_the_predictor(client: httpx.Client, bundle: Path) -> None:
    predictor = Predictor.open(bundle)
    for colour in COLOURS:
        found = ask(client, png(colour)).json()["answers"]
        offline = predictor.match(png(colour), TEXTS)
        assert [one["text"] for one in found] == TEXTS
        assert [one["decision"] for one in found] == [one.decision for one in offline]
        assert [one["score"] for one in found] == pytest.approx([one.score for one in offline], abs=1e-6)
        assert [one["scores"] for one in found] == [pytest.approx(one.scores, abs=1e-6) for one in offline]


def test_texts_come_as_repeated_fields_or_as_one_json_list(client: httpx.Client) -> None:
    assert ask(client, texts=[json.dumps(TEXTS)]).json() == ask(client).json()
    assert [one["text"] for one in ask(client, texts=["a red square"]).json()["answers"]] == ["a red square"]


def test_the_client_that_comes_with_bentoml_can_ask(server: Server, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(png("red"))
    code = """
import sys, pathlib, bentoml
with bentoml.SyncHTTPClient(sys.argv[1]) as client:
    print(client.match(image=pathlib.Path(sys.argv[2]), texts=["a red square"])["answers"][0]["decision"])
"""
    command = [sys.executable, "-c", code, server.url, str(tmp_path / "red.png")]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (child.stdout, child.returncode) == ("true\n", 0), child.stderr


def test_the_map_shows_what_speaks_for_the_text_and_what_against(client: httpx.Client, bundle: Path) -> None:
    found = client.post("/explain", files={"image": png("red")}, data={"text": "a red square"}).json()
    assert found["decision"] == "true"
    assert found["score"] == pytest.approx(Predictor.open(bundle).match(png("red"), ["a red square"])[0].score)
    assert [len(row) for row in found["heat"]] == [12] * 12


def test_limits_are_the_tighter_of_the_settings_and_the_bundle_s(client: httpx.Client) -> None:
    limits, of_bundle = client.get("/tasks").json()["limits"], ImageParams.model_validate(IMAGE_PARAMS)
    assert limits["max_bytes"] == min(200_000, of_bundle.max_bytes)
    assert limits["max_pixels"] == min(16_000_000, of_bundle.max_pixels)


def test_lineage_tells_what_is_served(client: httpx.Client, bundle: Path) -> None:
    found = client.get("/lineage").json()
    assert found["lineage"] == json.loads((bundle / "lineage.json").read_text())
    assert found["metrics"]["matching"] == {"accuracy": 1.0}
    assert found["tasks"]["matching"]["decision"] == {"threshold": 0.5}
    assert found["files"] == json.loads((bundle / "bundle.json").read_text())["files"]


def test_the_openapi_document_has_what_the_bundle_answers_and_no_more(client: httpx.Client) -> None:
    tasks = client.get("/tasks").json()
    document = client.get("/docs.json").json()
    posts = {path.removeprefix("/") for path, item in document["paths"].items() if "post" in item}
    assert posts == {endpoint["name"] for endpoint in tasks["endpoints"]} == {"match", "explain"}
    match = document["paths"]["/match"]["post"]
    form = match["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["image"]["format"] == "binary"
    assert form["properties"]["texts"]["maxItems"] == 8
    assert {"200", "400", "413", "415", "429", "503"} <= match["responses"].keys()
    text = json.dumps(document)
    assert set(re.findall(r"#/components/schemas/([^\"]+)", text)) == document["components"]["schemas"].keys()


def test_metrics_tell_task_batch_size_and_latency(client: httpx.Client) -> None:
    def value(pattern: str) -> float:
        found = re.search(pattern + r" (\S+)$", client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    size = r'vlp_batch_size_sum\{task="matching"\}'
    seconds = r'vlp_prediction_seconds_count\{task="matching"\}'
    refused = r'vlp_requests_total\{path="/match",status="400"\}'
    before = [value(pattern) for pattern in (size, seconds, refused)]
    ask(client)
    ask(client, b"no picture")
    after = [value(pattern) for pattern in (size, seconds, refused)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [6, 2, 1]
    client.get("/a-path-that-a-caller-made-up")
    assert "made-up" not in client.get("/metrics").text


def test_a_request_is_one_line_of_the_log_under_its_id(client: httpx.Client, server: Server) -> None:
    assert ask(client, headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert ask(client, b"no picture", headers={"X-Request-ID": "mine-2"}).json()["request_id"] == "mine-2"
    given = ask(client, headers={"X-Request-ID": "x" * 65}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", given)
    mine = [line for line in server.lines() if str(line.get("request_id")).startswith("mine")]
    assert [(line["status"], line["path"], line["level"]) for line in mine] == [
        (200, "/match", "info"),
        (400, "/match", "info"),
    ]
    assert "Traceback" not in (server.folder / "log").read_text()


def test_records_of_what_was_served_can_be_read_back(client: httpx.Client, server: Server) -> None:
    score = ask(client, png("blue"), headers={"X-Request-ID": "kept"}).json()["answers"][1]["score"]
    folder = server.folder.parent / "records" / "vlp" / "data"
    end = time.monotonic() + 10
    kept: list[Served] = []
    while len(kept) < 3 and time.monotonic() < end:
        lines = [line for path in folder.glob("data.*.log") for line in path.read_text().splitlines()]
        rows = [json.loads(line) for line in lines]
        kept = [Served.from_row(row) for row in rows if row["request"] == "kept"]
    assert [row.text for row in kept] == [0, 1, 2]
    assert kept[1].score == pytest.approx(score, abs=1e-6)
    assert (kept[1].red, kept[1].blue, kept[1].task) == (0, 255, "matching")
    assert kept[1].bundle == client.get("/lineage").json()["bundle"]


def test_health_is_open_and_ready(client: httpx.Client) -> None:
    assert {client.get(path).status_code for path in ("/livez", "/readyz", "/healthz")} == {200}
