"""A bundle of all seven tasks on real scenes: untrained, but calibrated and exported as trained ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML

from support import scenes
from vlp import plugins
from vlp.data.loading import Prepared
from vlp.export import bundle, onnx
from vlp.models.configuration import ModelParams
from vlp.models.modeling import VLPModel
from vlp.params import parse

ROOT = Path(__file__).resolve().parent.parent.parent
RECORDS = 60
SMALLER: dict[str, dict[str, Any]] = {
    "classification": {"min_count": 2},
    "generation": {
        "book": {"sprites": 24, "grounds": 4, "things": 3, "size": 12, "pictures": 40, "rounds": 4},
        "width": 16,
        "layers": 1,
        "candidates": 2,
        "calibration_prompts": 2,
    },
    "retrieval": {"width": 16, "rerank": 4},
    "segmentation": {"width": 16, "rounds": 1},
    "captioning": {"decoder": {"look": "cross_attention", "hidden": 16, "layers": 1, "heads": 2, "intermediate": 16}},
}
MODEL = {
    "image": {"architecture": "custom", "block": "basic", "layers": [1, 1, 1], "stem": "standard", "output_stride": 8},
    "text": {"hidden": 16, "layers": 1, "heads": 2, "intermediate": 32, "max_positions": 64, "dropout": 0.0},
    "fusion": {"name": "cross_attention", "hidden": 16, "layers": 1, "heads": 2, "mlp_ratio": 2.0, "dropout": 0.0},
}


def write_whole_bundle(folder: Path, work: Path) -> None:
    """A bundle in ``folder``, which is not there yet, made in ``work``. Its answers mean nothing."""
    (work / "prepared").mkdir(parents=True)
    prepared = Prepared(scenes.prepare(work / "prepared", RECORDS))
    sections = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text(encoding="utf-8"))["tasks"]
    folder.mkdir()
    (work / "metrics.json").write_text('{"accuracy": 0.5}', encoding="utf-8")
    tasks = {name: _task(name, {**section, **SMALLER.get(name, {})}, prepared) for name, section in sections.items()}
    contents = bundle.Contents(
        tasks={name: onnx.write_task(task, folder / name) for name, task in tasks.items()},
        tokenizer=prepared.folder / "tokenizer" / "tokenizer.json",
        params={"image": scenes.IMAGE.model_dump(mode="json"), "text": scenes.TEXT.model_dump(mode="json")},
        metrics=dict.fromkeys(tasks, work / "metrics.json"),
        lineage={"data": "0" * 64},
    )
    bundle.write(folder, contents)


def _task(name: str, section: dict[str, Any], prepared: Prepared) -> Any:
    torch.manual_seed(0)
    plugin = plugins.find("vlp.tasks", name)
    sizes = {
        "vocab_size": prepared.vocabulary_size,
        "image_size": prepared.image_size,
        "pad_token_id": prepared.pad_id,
    }
    model = VLPModel.from_params(parse(ModelParams, MODEL, "MODEL"), **sizes)
    task = plugin.Task(parse(plugin.Params, section, name), model, prepared).eval()
    task.prepare(prepared.split("train"), seed=0)
    task.calibrate(prepared.split("validation"), seed=0)
    return task
