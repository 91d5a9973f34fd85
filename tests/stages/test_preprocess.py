from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlp.stages import preprocess
from vlp.stages.base import run
from vlp import params
from vlp.data import cleaning, examples, judged, quality, shards
from vlp.data.cleaning import CleanParams
from vlp.data.sources import scenes
from vlp.data.split import SPLITS
from vlp.records import Record

SECTIONS: dict[str, Any] = {
    "seed": 7,
    "image": {"size": 64},
    "text": {"max_words": 40, "max_tokens": 32, "vocabulary": 400, "scripts": ["latin"]},
    "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
    "preprocess": {"engine": "local"},
    "engines": {"local": {}},
}


@pytest.fixture(scope="module")
def records() -> list[Record]:
    chosen = scenes.Params(records=60, image_size=64, captions=3, faults=0.3)
    return [scenes.record(index, params=chosen, seed=7) for index in range(60)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: list[Record]) -> Path:
    """A folder with scenes, clean and dirty, as the stages before leave them."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(json.dumps(SECTIONS), encoding="utf-8")  # JSON is YAML
    for folder in (preprocess.INGESTED, preprocess.VALIDATED):
        folder.mkdir(parents=True)
    shards.write_records(preprocess.INGESTED, records)
    chosen = params.load(preprocess.Params)
    measures = [quality.measure(each, chosen.image, chosen.text) for each in records]
    judged.write_measures(preprocess.VALIDATED, measures)
    judged.write_findings(preprocess.VALIDATED, cleaning.judge(measures, CleanParams(colour_matters=True)))
    return tmp_path


def test_every_record_is_prepared_or_listed_as_rejected(project: Path, records: list[Record]) -> None:
    preprocess.main()
    kept = [example.id for split in SPLITS for example in examples.read(preprocess.PREPARED, split)]
    lines = (preprocess.PREPARED / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    rejected = {row["record"] for row in map(json.loads, lines) if row["action"] == "rejected"}
    assert rejected
    assert len(kept) == len(set(kept))
    assert set(kept) | rejected == {each.id for each in records}
    assert not set(kept) & rejected


def test_a_second_run_writes_the_same_bytes(project: Path) -> None:
    def written() -> dict[str, bytes]:
        files = sorted(path for path in preprocess.PREPARED.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files}

    preprocess.main()
    first = written()
    preprocess.main()
    assert written() == first


def test_a_failed_run_leaves_what_was_there(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preprocess.main()
    before = (preprocess.PREPARED / "summary.json").read_bytes()
    sections = SECTIONS | {"split": {"train": 0.9998, "validation": 0.0001, "test": 0.0001}}
    Path("params.yaml").write_text(json.dumps(sections), encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        run(preprocess.main)
    assert stopped.value.code == 1
    assert "error: split: validation would be empty" in capsys.readouterr().err
    assert (preprocess.PREPARED / "summary.json").read_bytes() == before
    assert [path.name for path in preprocess.PREPARED.parent.iterdir() if path.name.startswith(".")] == []


def test_a_misspelt_parameter_is_one_clean_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sections = SECTIONS | {"image": {"sise": 64}}
    Path("params.yaml").write_text(json.dumps(sections), encoding="utf-8")
    with pytest.raises(SystemExit):
        run(preprocess.main)
    error = capsys.readouterr().err
    assert "image.sise: unknown key; did you mean 'size'?" in error
    assert "Traceback" not in error


def test_without_validation_it_says_what_to_run_first(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (preprocess.VALIDATED / "findings.jsonl").unlink()
    with pytest.raises(SystemExit):
        run(preprocess.main)
    assert "run the validate stage first" in capsys.readouterr().err
