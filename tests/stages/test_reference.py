from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlp.stages import reference
from support.bundles import write_prepared, write_toy_bundle
from support.requests import LIMITS
from vlp.drift.records import load_reference


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    limits = LIMITS.model_dump() | {"records": 100, "window": 50}
    Path("params.yaml").write_text(json.dumps({"seed": 7, "drift": limits}), encoding="utf-8")  # JSON is YAML
    Path("work").mkdir()
    write_toy_bundle(reference.BUNDLE, Path("work"))
    write_prepared(reference.PREPARED, records=120)
    return tmp_path


def test_the_stage_leaves_a_reference_that_a_check_can_use(project):
    reference.main()
    rows = load_reference(reference.REPORTS / "served.jsonl")
    assert len(rows) == 100
    summary = json.loads((reference.REPORTS / "summary.json").read_text(encoding="utf-8"))
    assert summary["words"]["mean"] == 3
    metrics = json.loads(reference.METRICS.read_text(encoding="utf-8"))
    assert metrics["records"] == 100
    assert 0 <= metrics["false_alarm_share"] <= 0.15


def test_a_second_run_writes_the_same_bytes(project):
    def written() -> list[bytes]:
        reference.main()
        return [path.read_bytes() for path in (*sorted(reference.REPORTS.iterdir()), reference.METRICS)]

    assert written() == written()
