"""The reference model of the field's tutorials, at full size: ResNet-50 and BERT-base at 224 pixels, features
concatenated, an MLP, one logit. Its weights are random: they cost the same time as trained ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vlp.data.loading import Prepared
from vlp.export import bundle, onnx, quantization
from vlp.models.configuration import ModelParams
from vlp.models.modeling import VLPModel
from vlp.params import parse
from vlp.preprocessing import text
from vlp.runtime.predictor import Predictor
from vlp.tasks.matching import Params, Task

SIZE, VOCABULARY, TOKENS = 224, 30_522, 32
TEXT = "two people ride brown horses along a beach while a small dog runs beside them"
IMAGE_PARAMS = {"size": SIZE}
TEXT_PARAMS = {"max_words": 40, "max_tokens": TOKENS, "vocabulary": 200, "min_frequency": 1}
MODEL = {
    "image": {"architecture": "resnet50"},
    "text": {"hidden": 768, "layers": 12, "heads": 12, "intermediate": 3072, "max_positions": 512, "dropout": 0.1},
    "fusion": {"name": "concat_mlp", "hidden": [512], "dropout": 0.1},
}
TASK = {
    "captions_per_image": 1,
    "pair_weight": 0.0,
    "training": {
        "steps": 1,
        "batch_size": 2,
        "learning_rate": 0.001,
        "warmup_share": 0.0,
        "weight_decay": 0.0,
        "gradient_clip": 1.0,
    },
}


def prepared(folder: Path) -> Prepared:
    """A prepared data set with no data: a tokenizer and the numbers that a model is built by."""
    params = text.TextParams.model_validate_json(json.dumps(TEXT_PARAMS))
    tokenizer = text.train_tokenizer([TEXT], params)
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    special = {f"{name}_id": number for name, number in text.special_ids(tokenizer).items()}
    summary = {"vocabulary_size": VOCABULARY, "image_size": SIZE, **special}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return Prepared(folder)


def task(folder: Path) -> Any:
    """The model as PyTorch runs it, the same each time."""
    torch.manual_seed(0)
    data = prepared(folder)
    sizes = {"vocab_size": VOCABULARY, "image_size": SIZE, "pad_token_id": data.pad_id}
    found = Task(parse(Params, TASK, "TASK"), VLPModel.from_params(parse(ModelParams, MODEL, "MODEL"), **sizes), data)
    found.decision = {"threshold": 0.5}
    return found.eval()


def write(folder: Path) -> Path:
    """The exported bundle in ``folder``, made once: half a gigabyte and about a minute."""
    target = folder / "bundle"
    if (target / "bundle.json").is_file():
        return target
    model = task(folder)
    target.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text("{}")
    _complete(target, onnx.write_task(model, target / "matching"))
    return target


def write_int8(folder: Path) -> Path:
    """The same bundle in eight bits, made once; its ranges are seen on noise, blurred and not."""
    plain, target = write(folder), folder / "int8"
    if (target / "bundle.json").is_file():
        return target
    predictor = Predictor.open(plain, verify=False)
    seen = quantization.watch(predictor, "matching")
    rng = np.random.default_rng(0)
    for side in (*range(4, 19), SIZE):
        noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
        predictor.task("matching").match_prepared(np.asarray(noise.resize((SIZE, SIZE))), [TEXT])
    (target / "matching").mkdir(parents=True, exist_ok=True)
    for part, listed in predictor.bundle.tasks["matching"].parts.items():
        quantization.quantise(plain / listed.file, target / listed.file, seen[part].feeds)
        quantization.keep_exact(predictor.task("matching").graphs[part], target / listed.file)
    entry = json.loads((plain / "bundle.json").read_text(encoding="utf-8"))["tasks"]["matching"]
    _complete(target, quantization.marked(entry, target))
    return target


def _complete(target: Path, entry: dict[str, Any]) -> None:
    folder = target.parent
    contents = bundle.Contents(
        tasks={"matching": entry},
        tokenizer=folder / "tokenizer" / "tokenizer.json",
        params={"image": IMAGE_PARAMS, "text": TEXT_PARAMS},
        metrics={"matching": folder / "metrics.json"},
        lineage={"benchmark": "random weights"},
    )
    bundle.write(target, contents)
