"""docs/serving.md says what there is."""

from __future__ import annotations

import re
import subprocess
import sys

import httpx

from service import endpoints
from service.settings import Settings, variable
from support.bundles import png
from support.served import ROOT

DOCUMENT = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_and_every_documented_one_is_there() -> None:
    assert set(re.findall(r"VLP_[A-Z_]+", DOCUMENT)) - {"VLP_"} == {variable(name) for name in Settings.model_fields}


def test_every_endpoint_is_documented_with_the_task_it_needs() -> None:
    rows = [line.split("|") for line in DOCUMENT.splitlines() if line.startswith("| `POST")]
    told = {name: row[4].strip(" `") for row in rows for name in re.findall(r"POST /(\w+)", row[1])}
    assert told == {endpoint.name: endpoint.task for endpoint in endpoints.TABLE}


def test_the_python_client_of_the_document_works(client: httpx.Client) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    names: dict = {"__name__": "document"}
    sys.modules["document"] = sys.modules[__name__]  # dataclasses look their module up
    exec(code, names)
    (judged,) = names["match"](client, png("red"), ["a red square"])
    assert (judged.decision, judged.scores.keys()) == ("true", {"true", "false"})
    del sys.modules["document"]


def test_commands_of_the_document_exist() -> None:
    targets = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"^make (\S+)", DOCUMENT, re.MULTILINE)) <= targets
    for path in re.findall(r"(?:-f )(deploy/\S+)", DOCUMENT):
        assert (ROOT / path).exists()
    shown = subprocess.run(
        [sys.executable, "-m", "service", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {"--bundle", "--port", "--check"} <= set(re.findall(r"--\w+", shown.stdout))
