"""A small real project under git and DVC, with a main branch and a branch that changes something."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

STAGE = """\
import csv, json, pathlib, sys
import pyarrow as pa
from ruamel.yaml import YAML

params = YAML(typ="safe").load(pathlib.Path("params.yaml"))
raw = sorted(path.read_text().strip() for path in pathlib.Path("incoming").glob("*.txt"))

def write(path, text):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

def as_json(path, value):
    write(path, json.dumps(value, indent=2, sort_keys=True) + "\\n")

if sys.argv[1] == "ingest":
    folder = pathlib.Path("data/prepared")
    folder.mkdir(parents=True, exist_ok=True)
    captions = [[{"text": f"a {colour} thing", "negative": f"no {colour} thing"}] for colour in raw]
    table = pa.table({"id": [f"r{place}" for place in range(len(raw))], "captions": captions})
    with pa.ipc.new_file(str(folder / "test-00000.arrow"), table.schema) as file:
        file.write_table(table)
    as_json("metrics/validation.json", {"records": len(raw) + 2, "rejected": 2, "critical_failures": 0,
                                        "rejects_by_reason": {"tiny": params["ingest"]["tiny"], "empty": 1}})
else:
    task, rate = sys.argv[2], params["tasks"][sys.argv[2]]["rate"]
    rows = [{"record": f"r{place}", "caption": 0, "kind": "colour", "score": (place + 1) / 10,
             "negative_score": rate} for place in range(len(raw))]
    right = sum(row["score"] > row["negative_score"] for row in rows) / len(rows)
    folder = f"reports/evaluation/{task}"
    write(f"{folder}/predictions.jsonl", "".join(json.dumps(row, sort_keys=True) + "\\n" for row in rows))
    write(f"{folder}/roc.csv", "fpr,tpr\\n0,0\\n" + f"0.5,{right}\\n" + "1,1\\n")
    write(f"{folder}/confusion.csv", "actual,predicted\\n" + "true,true\\n" * len(raw))
    as_json(f"metrics/{task}.json", {"accuracy": right, "accuracy_ci95": [right - 0.1, right + 0.1], "itm_loss": rate,
                                     "threshold": 0.5, "pairs": len(raw),
                                     "accuracy_by_kind": {"colour": {"value": right, "size": len(raw)}}})
"""

FILES = {
    "stage.py": STAGE,
    "params.yaml": "seed: 7\ningest: {tiny: 1}\ntasks:\n  matching: {rate: 0.15}\n",
    "dvc.yaml": """\
stages:
  ingest:
    cmd: python stage.py ingest
    params: [ingest]
    deps: [incoming, stage.py]
    outs: [data/prepared]
    metrics:
      - metrics/validation.json: {cache: false}
  evaluate:
    foreach: ${tasks}
    do:
      cmd: python stage.py evaluate ${key}
      params:
        - tasks.${key}
      deps: [data/prepared, stage.py]
      outs:
        - reports/evaluation/${key}
      metrics:
        - metrics/${key}.json: {cache: false}
metrics:
  - metrics/timing/matching.json
plots:
  - Matching, ROC:
      x: {reports/evaluation/matching/roc.csv: fpr}
      y: {reports/evaluation/matching/roc.csv: tpr}
  - Matching, confusion:
      template: confusion
      x: {reports/evaluation/matching/confusion.csv: actual}
      y: {reports/evaluation/matching/confusion.csv: predicted}
""",
    "metrics/timing/matching.json": '{"latency_ms_p50": 5.5}\n',
    ".gitignore": "/data/\n/reports/\n__pycache__/\n",
    ".dvcignore": "__pycache__\n",
    ".dvc/config": "[core]\n    analytics = false\n    check_update = false\n",
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
}
COLOURS = ("red", "blue", "green", "black")


def run(folder: Path, *command: str) -> str:
    """What ``command`` says; an error with what it said where it fails."""
    identity = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    site = {"DVC_SITE_CACHE_DIR": f"{folder}.site"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | identity | site, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commit(folder: Path, message: str) -> str:
    """Commit everything; the new commit's hash."""
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "-m", message)
    return run(folder, "git", "rev-parse", "HEAD").strip()


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def repro(folder: Path) -> None:
    """Track the raw files and run the stages."""
    run(folder, "dvc", "add", "--quiet", "incoming")
    run(folder, "dvc", "repro", "--quiet")


def make(folder: Path) -> Path:
    """The project, its stages run and everything committed, on ``main``."""
    write(folder, FILES | {f"incoming/{place}.txt": colour for place, colour in enumerate(COLOURS)})
    run(folder, "git", "init", "--quiet", "--initial-branch=main")
    repro(folder)
    commit(folder, "main")
    return folder


def change(folder: Path) -> None:
    """On the branch ``change``: another rate, which turns predictions, and one more raw file; run and committed."""
    run(folder, "git", "checkout", "--quiet", "-b", "change")
    params = FILES["params.yaml"].replace("rate: 0.15", "rate: 0.25").replace("tiny: 1", "tiny: 3, limit: null")
    write(folder, {"params.yaml": params, "incoming/4.txt": "pink|`odd`"})
    repro(folder)
    write(folder, {"metrics/timing/matching.json": '{"latency_ms_p50": 4.5}\n'})
    commit(folder, "change")
