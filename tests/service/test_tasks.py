"""All seven tasks through real HTTP, beside the predictor that answers them offline."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service import endpoints
from support.served import ROOT
from vlp.runtime.predictor import Answer, Index, Predictor

pytestmark = pytest.mark.slow

FILES = sorted((ROOT / "service" / "samples").glob("*.jpg"))
PICTURES = [path.read_bytes() for path in FILES]
TEXTS = ["there is a red circle", "two squares are blue", "there is no star", "a small green ring is left of a cross"]
NEAR = 1e-4


@pytest.fixture(scope="module")
def predictor(whole: Path) -> Predictor:
    return Predictor.open(whole)


def post(client: httpx.Client, name: str, image: bytes | None = None, **fields: Any) -> Any:
    if image is None and name in ("generate", "embed_text"):
        answer = client.post(f"/{name}", json=fields)
    else:
        form: list[tuple[str, Any]] = [] if image is None else [("image", image)]
        for field, value in fields.items():
            for one in value if isinstance(value, list) else [value]:
                form.append((field, one if isinstance(one, bytes) else (None, str(one))))
        answer = client.post(f"/{name}", files=form)
    assert answer.status_code == 200, answer.text
    return answer.json() if answer.headers["content-type"] == "application/json" else answer.content


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture)


def same(found: Any, wanted: Answer) -> None:
    """The decision and every probability."""
    assert found.get("answer", found.get("decision")) == wanted.decision
    assert found["score"] == pytest.approx(wanted.score, abs=NEAR)
    assert found["scores"] == pytest.approx(dict(wanted.scores), abs=NEAR)


def match(client: httpx.Client, predictor: Predictor, index: int) -> None:
    texts = TEXTS[: 1 + index % 4]
    for found, wanted in zip(
        post(client, "match", PICTURES[index], texts=texts)["answers"],
        predictor.match(PICTURES[index], texts),
        strict=True,
    ):
        same(found, wanted)


def ask(client: httpx.Client, predictor: Predictor, index: int) -> None:
    question = ["how many circles are there?", "what colour is the small star?", "is there a ring?"][index % 3]
    same(post(client, "ask", PICTURES[index], question=question), predictor.ask(PICTURES[index], question))


def caption(client: httpx.Client, predictor: Predictor, index: int) -> None:
    found, wanted = post(client, "caption", PICTURES[index]), predictor.caption(PICTURES[index])
    assert found == {"caption": wanted.decision, "score": pytest.approx(wanted.score, abs=NEAR)}


def classify(client: httpx.Client, predictor: Predictor, index: int) -> None:
    found = post(client, "classify", PICTURES[index])
    same(found, predictor.classify(PICTURES[index]))
    assert ", ".join(found["labels"]) == found["answer"]


def segment(client: httpx.Client, predictor: Predictor, index: int) -> None:
    text = ["the red circle", "the small square"][index % 2]
    found = pixels(post(client, "segment", PICTURES[index], text=text)) > 0
    wanted = predictor.segment(PICTURES[index], text)
    unsure = np.abs(wanted.probability - predictor.task("segmentation").decision["threshold"]) < NEAR
    np.testing.assert_array_equal(found[~unsure], wanted.mask[~unsure])


def generate(client: httpx.Client, predictor: Predictor, index: int) -> None:
    found = pixels(post(client, "generate", text=TEXTS[index % 4], seed=index))
    wanted = predictor.generate(TEXTS[index % 4], index)
    assert np.abs(found.astype(int) - wanted).max() <= 1  # of 255 levels


def embed(client: httpx.Client, predictor: Predictor, index: int) -> None:
    (found,) = post(client, "embed_image", PICTURES[index])["embeddings"]
    np.testing.assert_allclose(found, predictor.embed_image(PICTURES[index]), atol=NEAR)
    texts = TEXTS[: 1 + index % 4]
    found = post(client, "embed_text", texts=texts)["embeddings"]
    np.testing.assert_allclose(found, predictor.embed_text(texts), atol=NEAR)


WAYS: Sequence[Callable[[httpx.Client, Predictor, int], None]] = (
    match,
    ask,
    caption,
    classify,
    segment,
    generate,
    embed,
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_is_served_is_what_is_predicted_whatever_runs_beside_it(
    whole_client: httpx.Client, predictor: Predictor, way: Callable[[httpx.Client, Predictor, int], None]
) -> None:
    """Sixteen clients at once, so that requests share runs: probabilities to 1e-4, and every decision."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda index: way(whole_client, predictor, index % len(FILES)), range(48)))


def test_requests_did_share_runs(whole_client: httpx.Client) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda index: post(whole_client, "match", PICTURES[index % 24], texts=TEXTS), range(64)))
    lines = whole_client.get("/metrics").text.splitlines()
    figures = {line.split(" ")[0]: float(line.split(" ")[1]) for line in lines if line.startswith("vlp_run_rows_")}
    rows = figures['vlp_run_rows_sum{graph="matching/image"}']
    runs = figures['vlp_run_rows_count{graph="matching/image"}']
    assert rows > 1.2 * runs


def test_the_collection_is_searched_by_texts_by_a_picture_and_by_what_was_liked(
    whole_client: httpx.Client, predictor: Predictor
) -> None:
    index = predictor.index(images={path.name: path.read_bytes() for path in FILES})
    look = {path.name: path.read_bytes() for path in FILES}.__getitem__
    for sent, asked in (
        ({"texts": TEXTS[:1], "k": 5}, {"texts": TEXTS[:1], "k": 5}),
        ({"image": PICTURES[3], "k": 4}, {"image": PICTURES[3], "k": 4}),
        ({"like": ["01.jpg", "05.jpg"], "k": 3}, {"like": ["01.jpg", "05.jpg"], "k": 3}),
    ):
        found = post(whole_client, "retrieve", **sent)["hits"]
        wanted = predictor.retrieve(index, look=look, **asked)
        assert [hit["id"] for hit in found] == [hit.item.id for hit in wanted]
        assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in wanted], abs=1e-3)


@pytest.fixture
def sent(predictor: Predictor, tmp_path: Path) -> dict[str, bytes]:
    """An index of three things that only texts are known of, as files."""
    texts = {"round": ["a red circle"], "square": ["a blue square", "a large square"], "starry": ["a white star"]}
    predictor.index(texts=texts).save(tmp_path / "index")
    return {
        "index": (tmp_path / "index" / "index.json").read_bytes(),
        "vectors": (tmp_path / "index" / "vectors.npy").read_bytes(),
    }


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_an_index_that_is_sent_along_is_searched(
    whole_client: httpx.Client, predictor: Predictor, sent: dict[str, bytes]
) -> None:
    index = Index.parse(sent["index"], sent["vectors"])
    for query in ({"texts": ["a blue square"]}, {"image": PICTURES[0]}, {"like": ["starry"]}):
        hits = post(whole_client, "retrieve", **sent, **query)["hits"]
        assert [hit["id"] for hit in hits] == [hit.item.id for hit in predictor.retrieve(index, **query)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vectors": None}, "expected both files of an index"),
        ({"vectors": b"x"}, "vectors.npy: not an NPY file"),
        ({"index": b"{"}, "index.json: not valid JSON"),
        ({"model": "another"}, "made by another model"),
        ({"texts": ["word"] * 65}, "item 'round' has 65 texts, 64 allowed"),
        ({"texts": ["w" * 1001]}, "a text of item 'round' has over 1000 characters"),
        ({"vectors": npy(np.eye(3, 2, dtype=np.float32))}, "vectors.npy: expected vectors of length one"),
        ({"vectors": npy(np.eye(3, dtype=np.float32))}, "the index has vectors of width 3"),
        ({"id": "\ud800"}, "index.json: not the items of an index"),
    ],
)
def test_a_wrong_index_is_refused_with_a_reason(
    whole_client: httpx.Client, sent: dict[str, bytes], change: dict[str, Any], reason: str
) -> None:
    about = json.loads(sent["index"])
    about["model"] = change.pop("model", about["model"])
    for name in ("id", "texts"):
        about["items"][0][name] = change.pop(name, about["items"][0][name])
    files = {
        name: value
        for name, value in (sent | {"index": json.dumps(about).encode()} | change).items()
        if value is not None
    }
    answer = whole_client.post("/retrieve", files=files, data={"texts": TEXTS[:1]})
    assert (answer.status_code, reason in answer.json()["error"]) == (400, True), answer.text


def test_a_text_of_a_sent_index_is_judged_when_it_is_looked_at(
    whole_client: httpx.Client, sent: dict[str, bytes]
) -> None:
    about = json.loads(sent["index"])
    about["items"][0]["texts"] = ["?!"]
    files = sent | {"index": json.dumps(about).encode()}
    assert whole_client.post("/retrieve", files=files, data={"texts": TEXTS[:1]}).status_code == 200
    answer = whole_client.post("/retrieve", files=files | {"image": PICTURES[0]})
    reason = "index: item 'round': texts[0]: empty"
    assert (answer.status_code, reason in answer.json()["error"]) == (400, True), answer.text


@pytest.mark.parametrize(
    ("query", "reason"), [({"k": "3"}, "expected an image, texts, like"), ({"like": "none.jpg"}, "no item 'none.jpg'")]
)
def test_what_cannot_be_looked_for_is_said(whole_client: httpx.Client, query: dict[str, str], reason: str) -> None:
    body = [(name, (None, value)) for name, value in query.items()]
    answer = whole_client.post("/retrieve", files=body)
    assert (answer.status_code, reason in answer.json()["error"]) == (400, True), answer.text


def test_every_operation_has_examples_of_what_it_takes_and_answers(whole_client: httpx.Client) -> None:
    document = whole_client.get("/docs.json").json()
    posts = {path.removeprefix("/"): item["post"] for path, item in document["paths"].items() if "post" in item}
    assert posts.keys() == endpoints.BY_NAME.keys()
    schemas = document["components"]["schemas"]
    for name, operation in posts.items():
        (media,) = operation["requestBody"]["content"].values()
        said = {
            field: about
            for field, about in _fields(media["schema"], schemas).items()
            if about.get("format") != "binary" and "binary" not in json.dumps(about)
        }
        assert [field for field, about in said.items() if not about.get("examples")] == [], name
        (kind, answer), *_ = operation["responses"]["200"]["content"].items()
        if kind == "application/json":
            assert _resolved(answer["schema"], schemas).get("example"), name


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    return schemas[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def _fields(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    return dict(_resolved(schema, schemas)["properties"])
