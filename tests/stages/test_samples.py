"""The samples are the test split's own records, with the scores that the evaluation gave them."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from vlp.stages import samples
from support import scenes
from vlp.data import shards


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    samples.PREPARED.mkdir(parents=True)
    scenes.prepare(samples.PREPARED, 20)
    samples.PREDICTIONS.parent.mkdir(parents=True)
    return shards.open_table(samples.PREPARED, "test")


def predict(table, drop: str = "") -> None:
    rows = [
        {"record": record, "caption": caption, "score": 0.25 + caption / 100}
        for record, captions in zip(table["id"].to_pylist(), table["captions"].to_pylist(), strict=True)
        for caption in range(len(captions) - (record == drop))
    ]
    samples.PREDICTIONS.write_text("".join(json.dumps(row) + "\n" for row in rows))


def written() -> list[dict[str, object]]:
    return [json.loads(line) for line in (samples.SAMPLES / "samples.jsonl").read_text().splitlines()]


def test_pictures_texts_and_scores_are_those_of_the_records(prepared):
    predict(prepared)
    samples.main()
    found = written()
    assert [row["record"] for row in found] == prepared["id"].to_pylist()
    first = found[0]
    assert first["texts"] == [caption["text"] for caption in prepared["captions"][0].as_py()]
    assert first["scores"] == [0.25 + place / 100 for place in range(len(first["texts"]))]
    picture = Image.open(io.BytesIO((samples.SAMPLES / first["image"]).read_bytes()))
    assert picture.tobytes() == prepared["image"][0].as_py()


def test_a_record_whose_scores_cannot_be_told_apart_is_left_out(prepared):
    dropped = prepared["id"][0].as_py()
    predict(prepared, drop=dropped)
    samples.main()
    assert dropped not in {row["record"] for row in written()}


def test_without_the_task_there_are_none_and_predictions_of_other_records_are_an_error(prepared):
    samples.main()
    assert written() == []
    samples.PREDICTIONS.write_text(json.dumps({"record": "another", "caption": 0, "score": 0.5}) + "\n")
    with pytest.raises(ValueError, match="no test record"):
        samples.main()
