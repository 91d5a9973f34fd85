"""Vectors, an index and two stages of search from an exported bundle, and what they are held against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from support.bundles import CAPTIONS, picture, png, write_prepared
from support.trained import bundled, trained
from vlp.data.loading import Prepared, pad
from vlp.export.parity.base import measure
from vlp.export.parity.retrieval import comparison
from vlp.preprocessing.image import ImageError
from vlp.runtime.index import Hit, Index, Item, SearchError, direction
from vlp.runtime.inputs import InputError
from vlp.runtime.predictor import Predictor
from vlp.tasks.retrieval import Task
from vlp.tasks.retrieval.candidates import gather

pytestmark = pytest.mark.slow  # exports with torch.export
TEXTS = {"text red": ["a red square"], "text blue": ["a blue circle", "a blue square"]}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Predictor, Path]:
    root = tmp_path_factory.mktemp("retrieval")
    write_prepared(root / "prepared")
    task = trained("retrieval", root / "prepared")
    return task, bundled(task, root / "prepared", root / "bundle"), root / "prepared"


@pytest.fixture(scope="module")
def predictor(exported: tuple[Task, Predictor, Path]) -> Predictor:
    return exported[1]


def ids(hits: list) -> list[str]:
    return [hit.item.id for hit in hits]


def test_vectors_are_those_of_the_model(exported: tuple[Task, Predictor, Path]) -> None:
    task, predictor, prepared = exported
    test = Prepared(prepared).split("test")
    captions = [entry["text"] for entry in test.values("captions", 0)]
    texts = pad([np.array(each) for each in test.ids("captions", "ids", 0)], [0, 0], task.prepared.pad_id)
    with torch.no_grad():
        image = task.embed_image(task.model.encode_image(torch.from_numpy(picture("red"))[None]))[0]
        text = task.embed_text(task.model.encode_text(texts.input_ids, texts.attention_mask))
    np.testing.assert_allclose(predictor.embed_image(png("red")), image, atol=1e-5)
    np.testing.assert_allclose(predictor.embed_text(captions), text, atol=1e-5)
    assert np.allclose(np.linalg.norm(predictor.embed_text(captions), axis=1), 1)
    assert predictor.embed_text([]).shape == (0, 8)


def test_a_text_does_not_depend_on_its_neighbours(predictor: Predictor) -> None:
    alone = np.concatenate([predictor.embed_text([text]) for text in CAPTIONS])
    np.testing.assert_allclose(predictor.embed_text(CAPTIONS * 10), np.tile(alone, (10, 1)), atol=1e-6)


def nearest(index: Index, query: np.ndarray) -> list[str]:
    """Ids by cosine, worked out in the open."""
    return [index.items[place].id for place in np.argsort(-(index.vectors @ query), kind="stable").tolist()]


def test_an_image_is_searched_for_among_texts_and_a_text_among_images(predictor: Predictor) -> None:
    texts = predictor.index(texts=TEXTS)
    for colour in ("red", "blue"):
        features = predictor.task("retrieval").features(picture(colour))
        told = {name: predictor.task("retrieval").telling(features, said) for name, said in TEXTS.items()}
        decision = predictor.task("retrieval").decision
        weight = decision["image_to_text"] / decision["scale"]
        cosine = dict(zip(TEXTS, (texts.vectors @ predictor.embed_image(png(colour))).tolist(), strict=True))
        expected = sorted(TEXTS, key=lambda name: -(cosine[name] + weight * told[name]))
        assert ids(predictor.retrieve(texts, image=png(colour))) == expected
        assert ids(predictor.retrieve(texts, image=png(colour), k=1)) == expected[:1]
    images = predictor.index(images={"image red": png("red"), "image blue": png("blue")})
    for text in CAPTIONS:
        assert ids(predictor.retrieve(images, texts=[text])) == nearest(images, predictor.embed_text([text])[0])


def test_the_second_stage_adds_what_the_fusion_block_says(exported: tuple[Task, Predictor, Path]) -> None:
    task, predictor, _ = exported
    answers = predictor.task("retrieval")
    index = predictor.index(texts=TEXTS)
    hits = {hit.item.id: hit.score for hit in predictor.retrieve(index, image=png("red"))}
    features = answers.features(picture("red"))
    for name, texts in TEXTS.items():
        cosine = float(features["image_embedding"][0] @ direction(predictor.embed_text(texts)))
        weight = task.decision["image_to_text"] / task.decision["scale"]
        assert hits[name] == pytest.approx(cosine + weight * answers.telling(features, texts), abs=1e-5)


def test_an_item_without_an_image_stands_behind_those_that_were_looked_at(predictor: Predictor) -> None:
    images = {"red": png("red"), "blue": png("blue")}
    index = predictor.index(images=images, texts={"words": ["a red square"]})
    without = predictor.retrieve(index, texts=["a red square"])
    assert ids(without)[0] == "words", "it is what was asked for, word for word"
    looked = predictor.retrieve(index, texts=["a red square"], look=images.get)
    assert looked[-1].item == without[0].item
    assert sorted([hit.score for hit in looked], reverse=True) == [hit.score for hit in looked]


def test_scores_fall_from_those_that_were_looked_at_to_those_that_were_not(predictor: Predictor) -> None:
    answers = predictor.task("retrieval")
    hits = [Hit(Item(str(number)), 0.9 - number / 10) for number in range(6)]
    told = {"0": -9.0, "1": None, "2": -3.0}  # log-probabilities: they draw down those that were looked at
    weight, before = 4.0 * answers.decision["scale"], answers.decision["text_to_image"]
    answers.decision["text_to_image"] = weight
    try:
        found = answers._again(hits, "text_to_image", lambda item: told[item.id])
    finally:
        answers.decision["text_to_image"] = before
    assert ids(found) == ["2", "0", "1", "3", "4", "5"]
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True) and scores[1] > scores[2]
    assert scores[2] - scores[3] == pytest.approx(0.2)  # among themselves they are as far apart as they were
    assert answers._again(hits, "text_to_image", lambda item: None) == hits


def test_what_was_liked_recommends_what_is_near_it(predictor: Predictor) -> None:
    images = {"red one": png("red"), "red two": png("red"), "blue": png("blue")}
    index = predictor.index(images=images, texts={"red two": ["a red square"], "words": ["a blue square"]})
    one, two = index.vectors_of(["red one", "red two"])
    assert ids(predictor.retrieve(index, like=["red one"])) == [
        name for name in nearest(index, one) if name != "red one"
    ]
    both = direction(np.stack([predictor.embed_text(["a red circle"])[0], one, two]))
    history = predictor.retrieve(index, like=["red one", "red two"], texts=["a red circle"])
    assert ids(history) == [name for name in nearest(index, both) if not name.startswith("red")]
    mixed = direction(np.stack([predictor.embed_image(png("red")), predictor.embed_text(["a red square"])[0]]))
    np.testing.assert_allclose(two, mixed, atol=1e-6)


def test_an_index_outlives_its_maker_and_no_other_model(predictor: Predictor, tmp_path: Path) -> None:
    predictor.index(texts=TEXTS).save(tmp_path / "index")
    again = Index.load(tmp_path / "index")
    assert predictor.retrieve(again, image=png("red")) == predictor.retrieve(
        predictor.index(texts=TEXTS), image=png("red")
    )
    other = Index(again.items, again.vectors, "another model")
    with pytest.raises(SearchError, match="made by another model"):
        predictor.retrieve(other, image=png("red"))


def test_what_cannot_be_searched_is_refused(predictor: Predictor) -> None:
    index = predictor.index(texts=TEXTS)
    with pytest.raises(SearchError, match="nothing to search for"):
        predictor.retrieve(index)
    with pytest.raises(SearchError, match="no item 'text green'"):
        predictor.retrieve(index, like=["text green"])
    with pytest.raises(SearchError, match="neither an image nor a text"):
        predictor.index(texts={"mute": []})
    with pytest.raises(InputError, match=r"texts\['long'\]\[1\]: too_long"):
        predictor.index(texts={"long": ["red", "red " * 11]})
    with pytest.raises(ImageError, match=r"not_an_image: item 'spoilt\.png': ") as refused:
        predictor.index(images={"red.png": png("red"), "spoilt.png": b"no picture"})
    assert refused.value.reason == "not_an_image"
    images = predictor.index(images={"red.png": png("red"), "spoilt.png": png("blue")})
    with pytest.raises(ImageError, match=r"not_an_image: item 'spoilt\.png': "):
        predictor.retrieve(images, texts=["a blue square"], look=lambda name: png("red") if name == "red.png" else b"x")


def test_model_and_bundle_agree_on_both_stages(exported: tuple[Task, Predictor, Path]) -> None:
    task, predictor, prepared = exported
    made = comparison(task, predictor, Prepared(prepared).split("test"), samples=6)
    assert made.requests[0].texts == [["a blue square", "a blue circle"], ["a red square", "a red circle"]]
    found = measure(made)
    assert found.max_abs_diff < 1e-4 and found.metric_drop == 0
    scores = np.concatenate([made.by_torch(request) for request in made.requests])
    assert made.metric(scores) + made.metric(-scores) == 1.0


def test_torch_says_of_a_request_what_it_says_in_evaluation(exported: tuple[Task, Predictor, Path]) -> None:
    task, predictor, prepared = exported
    test = Prepared(prepared).split("test")
    found = gather(test, 6, 2)
    scores = task.score(test, found)
    made = comparison(task, predictor, test, samples=6)
    cosine, telling, *_ = made.by_torch(made.requests[0])
    assert scores.similarity[0, 0] == pytest.approx(cosine * task.decision["scale"], abs=1e-3)
    assert scores.matching[0, 0] == pytest.approx(telling, abs=1e-4)


def test_a_test_split_with_one_caption_is_refused(exported: tuple[Task, Predictor, Path], tmp_path: Path) -> None:
    task, predictor, _ = exported
    write_prepared(tmp_path / "prepared", records=1)
    with pytest.raises(ValueError, match="two are needed"):
        comparison(task, predictor, Prepared(tmp_path / "prepared").split("test"), 6)
