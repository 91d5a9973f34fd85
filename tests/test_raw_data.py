"""Raw data under DVC, by the commands that docs/data.md names: imported, stored, fetched, updated."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from vlp.data import shards

GRAPH = """\
stages:
  ingest:
    cmd: python -m vlp.stages.ingest
    params: [seed, ingest, sources.image_folder]
    deps: [data/incoming]
    outs: [data/ingested, data/injected_faults.jsonl]
"""


def dvc(project: Path, *arguments: str) -> str:
    done = subprocess.run(["dvc", *arguments], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_imported_pictures_are_stored_fetched_and_updated(tmp_path: Path) -> None:
    origin, project, store = tmp_path / "origin", tmp_path / "project", tmp_path / "store"
    for name in ("cat/1.jpg", "dog/2.jpg"):
        (origin / name).parent.mkdir(parents=True)
        (origin / name).write_bytes(name.encode())
    (project / "data" / "incoming").mkdir(parents=True)
    sections = {"seed": 1, "ingest": {"source": "image_folder", "root": "data/incoming/pets"},
                "sources": {"image_folder": {}}}  # fmt: skip
    (project / "params.yaml").write_text(json.dumps(sections), encoding="utf-8")
    (project / "dvc.yaml").write_text(GRAPH, encoding="utf-8")
    dvc(project, "init", "--no-scm", "--quiet")
    dvc(project, "remote", "add", "--default", "store", str(store))
    dvc(project, "import-url", str(origin), "data/incoming/pets")
    dvc(project, "push", "--quiet")
    # Another machine: the pointer is there, the pictures are not.
    shutil.rmtree(project / "data" / "incoming" / "pets")
    shutil.rmtree(project / ".dvc" / "cache")
    dvc(project, "pull", "--quiet", "data/incoming/pets.dvc")
    dvc(project, "repro", "--quiet")
    found = shards.read_records(project / "data" / "ingested")
    assert [record.image for record in found] == [b"cat/1.jpg", b"dog/2.jpg"]
    # The origin moves on.
    (origin / "dog" / "3.jpg").write_bytes(b"new")
    dvc(project, "update", "data/incoming/pets.dvc")
    assert "Running stage 'ingest'" in dvc(project, "repro")
    assert sum(1 for _ in shards.read_records(project / "data" / "ingested")) == 3
