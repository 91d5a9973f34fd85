"""``vlp drift``, as a person or a scheduler calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.requests import LIMITS, requests, write
from vlp import cli


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(json.dumps({"drift": LIMITS.model_dump()}), encoding="utf-8")  # JSON is YAML
    write(Path("reports/reference/served.jsonl"), requests(500, seed=1, reference=True))
    write(Path("monitoring/a.jsonl"), requests(250, seed=2, darker=25.0))
    return tmp_path


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    cli.main(["drift", *arguments])
    return json.loads(capsys.readouterr().out)


def test_an_alert_is_repeated_until_people_were_told(project, capsys):
    first = found(capsys)
    assert len(first["windows"]) == 2
    assert first["waiting"] == 50
    assert first["alert"]["features"] == ["blue", "green", "red"]
    assert found(capsys)["alert"] == first["alert"]
    cli.main(["drift", "--told"])
    assert capsys.readouterr().out == ""
    last = found(capsys)
    assert last["alert"] is None
    assert last["incident"]["announced"] is True


def test_a_folder_that_is_not_there_is_one_line(project, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["drift", "--served", "nowhere"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "error: nowhere: no such file or folder of served records\n"
