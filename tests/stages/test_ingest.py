from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from vlp.stages import ingest
from vlp import params as parameters
from vlp import plugins
from vlp.data import shards

PROJECT = Path(__file__).resolve().parents[2]
MANIFEST = {"file": "pairs.jsonl", "image": "image", "captions": ["text"]}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    return tmp_path


def prepare(project: Path, *rows: dict[str, str], **changes: Any) -> None:
    (project / "raw" / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sections = {
        "seed": 1,
        "ingest": {"source": "manifest", "root": "raw"},
        "sources": {"manifest": MANIFEST},
        **changes,
    }
    (project / "params.yaml").write_text(json.dumps(sections), encoding="utf-8")  # JSON is YAML


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_records_are_written_as_collected_and_no_fault_is_injected(project: Path) -> None:
    (project / "raw" / "a.png").write_bytes(b"bytes")
    prepare(project, {"image": "a.png", "text": "a cat"}, {"image": "b.png", "text": "a dog"})
    ingest.main()
    first, second = shards.read_records(project / "data" / "ingested")
    assert (first.id, first.image, first.captions[0].text, first.fault) == ("a.png", b"bytes", "a cat", None)
    assert "no such file" in (second.fault or "")
    assert (project / "data" / "injected_faults.jsonl").read_bytes() == b""


def test_the_same_input_gives_the_same_bytes(project: Path) -> None:
    prepare(project, {"image": "a.png", "text": "a cat"}, {"image": "b.png", "text": "a dog"})
    ingest.main()
    before = digests(project / "data" / "ingested")
    ingest.main()
    assert digests(project / "data" / "ingested") == before


def test_two_records_with_one_id_are_an_error_that_names_both(project: Path) -> None:
    prepare(
        project,
        {"image": "a.png", "key": "x"},
        {"image": "b.png", "key": "y"},
        {"image": "c.png", "key": "x"},
        sources={"manifest": {"file": "pairs.jsonl", "image": "image", "id": "key"}},
    )
    with pytest.raises(ValueError, match="records 1 and 3 share the id 'x'"):
        ingest.main()
    assert not (project / "data" / "ingested").exists()


def test_an_error_leaves_what_was_there_before(project: Path) -> None:
    prepare(project, {"image": "a.png", "text": "a cat"})
    ingest.main()
    before = digests(project / "data" / "ingested")
    prepare(project)
    with pytest.raises(ValueError, match="no rows"):
        ingest.main()
    assert digests(project / "data" / "ingested") == before


def test_an_unknown_source_lists_those_there_are(project: Path) -> None:
    prepare(project, ingest={"source": "manifst", "root": "raw"})
    with pytest.raises(ValueError, match="did you mean 'manifest'"):
        ingest.main()


def test_a_source_that_yields_nothing_is_an_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(project, {"image": "a.png", "text": "a cat"})
    monkeypatch.setattr("vlp.data.sources.manifest.read", lambda *_: iter(()))
    with pytest.raises(ValueError, match="manifest: no record below raw"):
        ingest.main()


@pytest.mark.parametrize("name", plugins.names(ingest.SOURCES))
def test_every_source_has_a_section_that_it_can_read(name: str) -> None:
    parameters.load_section(f"sources.{name}", plugins.find(ingest.SOURCES, name).Params, PROJECT / "params.yaml")


def test_the_records_of_any_source_become_shards(project: Path) -> None:
    (project / "raw" / "cat").mkdir()
    (project / "raw" / "cat" / "1.png").write_bytes(b"one")
    prepare(project, ingest={"source": "image_folder", "root": "raw"}, sources={"image_folder": {}})
    ingest.main()
    (record,) = shards.read_records(project / "data" / "ingested")
    assert (record.id, record.image, record.labels) == ("cat/1.png", b"one", ("cat",))
