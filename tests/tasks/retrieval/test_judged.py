"""A first answer that is true though it was not written for the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support import scenes
from support.bundles import write_prepared
from vlp.data.loading import Prepared
from vlp.data.scenes.oracle import truth
from vlp.evaluation.intervals import Bootstrap
from vlp.tasks.retrieval.candidates import gather
from vlp.tasks.retrieval.judged import judged_recall
from vlp.tasks.retrieval.scores import IMAGE_TO_TEXT, TEXT_TO_IMAGE


def test_the_oracle_judges_every_caption_of_the_first_answer(tmp_path: Path) -> None:
    train = Prepared(scenes.prepare(tmp_path, 40)).split("train")
    found = gather(train, 20, 1)
    order = np.random.default_rng(0).random(found.right.shape)
    annotations, expected = train.strings("annotation"), []
    for image, text in enumerate(order.argmax(1).tolist()):
        caption = train.values("captions", int(found.rows[found.owner[text]]))[found.places[text][0]]
        expected.append(truth(annotations[found.rows[image]], str(caption["text"])))
    judged = judged_recall(train, found, order, IMAGE_TO_TEXT, of_queries(len(order)))
    assert judged["judged_image_to_text_r1"] == np.mean(expected)
    assert 0 < np.mean(expected) < 1
    low, high = judged["judged_image_to_text_r1_ci95"]
    assert low < np.mean(expected) < high
    right = found.right.T.astype(float)
    judged = judged_recall(train, found, right, TEXT_TO_IMAGE, of_queries(len(right)))
    assert judged["judged_text_to_image_r1"] == 1.0


def of_queries(count: int) -> Bootstrap:
    return Bootstrap([str(number) for number in range(count)], seed=0, resamples=200)


def test_without_scenes_nothing_is_said(tmp_path: Path) -> None:
    write_prepared(tmp_path / "prepared")
    test = Prepared(tmp_path / "prepared").split("test")
    found = gather(test, 6, 1)
    right = found.right.astype(float)
    assert judged_recall(test, found, right, IMAGE_TO_TEXT, of_queries(len(right))) == {}
