"""A real DVC repository in which every stage takes milliseconds: the mechanics of the flows without a training.

Its stages write what the project's own leave behind (metrics, predictions, a bundle), from a table of numbers in
``data/incoming`` and ``train.skill``: the share of pairs that the "model" gets right; ``evaluate.flaw`` is what else is
wrong with it. What it exports is served by ``support.answering``, well or badly as ``serve.manner`` says.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

PROJECT = Path(__file__).resolve().parent.parent.parent
ANSWERING = Path(__file__).with_name("answering.py")

STEPS = """\
import hashlib, json, os, sys, time
from pathlib import Path

def write(path, text):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)

def parameter(name):
    for line in Path("params.yaml").read_text().splitlines():
        if line.strip().startswith(name + ":"):
            return float(line.split(":")[1])

def word(name):
    for line in Path("params.yaml").read_text().splitlines():
        if line.strip().startswith(name + ":"):
            return line.split(":")[1].strip()

def rows(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]

def share(text):
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF

def validate():
    found = [row for path in sorted(Path("data/incoming").rglob("*.jsonl")) for row in rows(path)]
    bad = [row["id"] for row in found if row.get("bad")]
    write("reports/validation.html", f"<p>{len(bad)} of {len(found)} are bad</p>")
    counts = {"records": len(found), "rejected": len(bad), "rejects_by_reason": {"bad": len(bad)}}
    write("metrics/validation.json", json.dumps(counts))
    for done in (1, 2):
        print(f"records: {done}/2, 9.0/s", file=sys.stderr)
    if bad or not found:
        sys.exit(f"error: {len(bad)} bad records: {', '.join(bad[:3])}")
    write("data/validated", "".join(json.dumps(row) + "\\n" for row in found))

def train():
    print("environment:", sorted(os.environ.items()))
    write("data/trained", json.dumps({"skill": parameter("skill"), "ids": len(rows("data/validated"))}))

def side(name):
    time.sleep(parameter("pause"))
    write("data/" + name, Path("data/trained").read_text())

def evaluate():
    skill = json.loads(Path("data/trained").read_text())["skill"]
    test = [row["id"] for row in rows("data/validated") if share(row["id"] + "split") < 0.5]
    predictions = []
    for record in test:
        for caption, kind in enumerate(("colour", "shape")):
            right = share(f"{record} {caption}") < skill
            scores = {"score": 0.9 if right else 0.4, "negative_score": 0.1 if right else 0.6}
            predictions.append({"record": record, "caption": caption, "kind": kind, **scores})
    flaw = word("flaw")
    if flaw == "leaking":  # test records of before are trained on
        predictions = predictions[len(predictions) // 4 :]
    right = sum(row["score"] > 0.5 for row in predictions) / len(predictions)
    lines = [json.dumps(row) for row in predictions]
    if flaw == "broken":
        lines.append(lines[0])
    write("reports/evaluation/matching/predictions.jsonl", "".join(line + "\\n" for line in lines))
    figures = {"accuracy": right, "hard_negative_accuracy": right, "threshold": 0.5,
               "text_only_hard_negative_accuracy": 0.9 if flaw == "blind" else 0.5}
    write("metrics/matching.json", json.dumps(figures))

def export():
    latency = 50.0 if word("flaw") == "slow" else 10.0
    write("metrics/timing/export.json", json.dumps({"matching": {"onnxruntime": {"latency_ms_p50": latency}}}))
    Path("models/bundle").mkdir(parents=True, exist_ok=True)
    write("models/bundle/params.json", "{}")
    write("models/bundle/tokenizer/tokenizer.json", "{}")
    write("models/bundle/lineage.json", "{}")
    write("models/bundle/manner", word("manner"))
    write("models/bundle/predictions.jsonl", Path("reports/evaluation/matching/predictions.jsonl").read_text())
    table = {}
    for path in sorted(Path("models/bundle").rglob("*")):
        if path.is_file() and path.name != "bundle.json":
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            table[path.relative_to("models/bundle").as_posix()] = {"bytes": len(content), "sha256": digest}
    write("models/bundle/bundle.json", json.dumps({"format": 1, "tasks": {}, "files": table}))

def samples():
    scores = {}
    for row in rows("reports/evaluation/matching/predictions.jsonl"):
        scores.setdefault(row["record"], []).append(row["score"])
    lines = []
    for record in sorted(scores)[:5]:
        write(f"reports/samples/{record}.bin", record)
        lines.append({"record": record, "image": f"{record}.bin", "texts": ["0", "1"], "scores": scores[record]})
    write("reports/samples/samples.jsonl", "".join(json.dumps(line) + "\\n" for line in lines))

globals()[sys.argv[1]](*sys.argv[2:])
"""

STAGES = """\
stages:
  validate:
    cmd: python -I -S steps.py validate
    deps: [data/incoming, steps.py]
    outs: [data/validated, reports/validation.html]
    metrics: [{metrics/validation.json: {cache: false}}]
  train:
    cmd: python -I -S steps.py train
    params: [train]
    deps: [data/validated]
    outs: [data/trained]
  side:
    foreach: [left, right]
    do:
      cmd: python -I -S steps.py side ${item}
      params: [side]
      deps: [data/trained]
      outs: ["data/${item}"]
  evaluate:
    cmd: python -I -S steps.py evaluate
    params: [evaluate]
    deps: [data/validated, data/trained]
    outs: [reports/evaluation/matching]
    metrics: [{metrics/matching.json: {cache: false}}]
  export:
    cmd: python -I -S steps.py export
    params: [serve, evaluate]
    deps: [data/left, data/right, reports/evaluation/matching]
    outs: [models/bundle]
  samples:
    cmd: python -I -S steps.py samples
    deps: [reports/evaluation/matching]
    outs: [reports/samples]
artifacts:
  vlp: {path: models/bundle, type: model}
"""
NAMES = {"validate", "train", "side@left", "side@right", "evaluate", "export", "samples"}


def git(folder: Path, *arguments: str) -> str:
    """What git says."""
    author = ("-c", "user.name=A Person", "-c", "user.email=person@example.org")
    done = subprocess.run(["git", *author, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def committed(folder: Path, files: Mapping[str, str]) -> Path:
    """A new DVC repository that holds ``files`` by their names, in one commit of a person of its own."""
    common = {
        ".dvcignore": "runs\n",
        ".dvc/config": "[core]\n    analytics = false\n",
        ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
    }
    for name, text in {**common, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "init", "--quiet")
    for name, value in (("user.name", "A Person"), ("user.email", "person@example.org")):
        git(folder, "config", name, value)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "start")
    return folder


def rows(numbers: Iterable[int], *, bad: bool = False) -> str:
    """Lines of the table of the records ``numbers``."""
    return "".join(json.dumps({"id": f"r{number}"} | ({"bad": True} if bad else {})) + "\n" for number in numbers)


def change(folder: Path, name: str, **values: Any) -> None:
    """Change the YAML file ``name``: ``section__key=value``."""
    yaml = YAML()
    found = yaml.load(folder / name)
    for dotted, value in values.items():
        *parents, key = dotted.split("__")
        section = found
        for parent in parents:
            section = section[parent]
        section[key] = value
    yaml.dump(found, folder / name)


def settings(folder: Path) -> Any:
    """The settings as they are."""
    return YAML(typ="safe").load(folder / "flows" / "config.yaml")


def commit(folder: Path, message: str = "change") -> str:
    """Commit everything; the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def make(folder: Path, skill: float = 0.7, records: int = 400) -> Path:
    """The repository, nothing run yet; its settings are the project's own, made quick."""
    (folder / "flows").mkdir(parents=True)
    (folder / "data" / "incoming").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    subprocess.run(["dvc", "init", "--quiet"], cwd=folder, check=True, env=os.environ)
    (folder / "steps.py").write_text(STEPS, encoding="utf-8")
    (folder / "dvc.yaml").write_text(STAGES, encoding="utf-8")
    text = f"train:\n  skill: {skill}\nside:\n  pause: 0.0\nevaluate:\n  flaw: none\nserve:\n  manner: well\n"
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    ignored = "__pycache__/\n/runs/\n/models/\n/reports/\n"
    ignored += "/data/?*\n!/data/incoming/\n/data/incoming/?*\n!/data/incoming/*.dvc\n"
    (folder / ".gitignore").write_text(ignored, encoding="utf-8")
    (folder / ".dvcignore").write_text("runs\n", encoding="utf-8")
    (folder / "data" / "incoming" / "first.jsonl").write_text(rows(range(records)), encoding="utf-8")
    (folder / "flows" / "config.yaml").write_bytes((PROJECT / "flows" / "config.yaml").read_bytes())
    change(folder, "flows/config.yaml", retry_delay_s=0, gate__min_slice_rows=50, gate__max_gain=0.5)
    serve = ["python", str(ANSWERING), "{bundle}", "{port}"]
    short = {"serve": serve, "package": [], "discard": [], "port": 0, "watch_s": 0.5}
    change(folder, "flows/config.yaml", serving=settings(folder)["serving"] | short)
    subprocess.run(["dvc", "add", "--quiet", "data/incoming/first.jsonl"], cwd=folder, check=True)
    commit(folder, "begin")
    return folder
