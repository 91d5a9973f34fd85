"""A prepared data set and a bundle small enough to follow by eye, made by the real writers."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from vlp.data import examples
from vlp.data.summary import summarise
from vlp.export import bundle
from vlp.files import write_json
from vlp.preprocessing import text
from vlp.records import Caption, Example

SIZE = 16
COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255), "purple": (128, 0, 128)}
CAPTIONS = [f"a {colour} {shape}" for colour in COLOURS for shape in ("square", "circle", "field of small stones")]
IMAGE_PARAMS = {"size": SIZE}
TEXT_PARAMS = {"max_words": 10, "max_tokens": 12, "vocabulary": 200, "min_frequency": 1}


def picture(colour: str) -> np.ndarray:
    """uint8 [S, S, 3] of one colour."""
    return np.full((SIZE, SIZE, 3), COLOURS[colour], np.uint8)


def png(colour: str) -> bytes:
    out = BytesIO()
    Image.fromarray(picture(colour)).save(out, "PNG")
    return out.getvalue()


def text_params() -> text.TextParams:
    return text.TextParams.model_validate_json(json.dumps(TEXT_PARAMS))


def write_tokenizer(folder: Path) -> Any:
    """Train on ``CAPTIONS`` and write ``tokenizer.json`` into ``folder``."""
    tokenizer = text.train_tokenizer(CAPTIONS, text_params())
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def write_prepared(folder: Path, records: int = 6, *, edits: bool = True) -> None:
    """What the preprocess stage writes: three splits of red and blue pictures, two captions each.

    Each caption's minimal edit names the other colour; without ``edits`` there is none.
    """
    tokenizer = write_tokenizer(folder / "tokenizer")

    def example(split: str, index: int) -> Example:
        colour, other = ("red", "blue") if index % 2 else ("blue", "red")
        noise = np.random.default_rng(index).integers(0, 40, (SIZE, SIZE, 3))
        captions = tuple(
            Caption(text=f"a {colour} {shape}", negative=f"a {other} {shape}" if edits else None, kind="attribute")
            for shape in ("square", "circle")
        )
        return Example(
            id=f"{split}-{index}",
            group=f"{split}-{index}",
            image=np.clip(picture(colour) + noise, 0, 255).astype(np.uint8),
            captions=captions,
            labels=(),
            questions=(),
            regions=(),
            annotation=None,
        )

    ids = dict(zip(CAPTIONS, text.encode(tokenizer, CAPTIONS, text_params()), strict=True))
    for split in ("train", "validation", "test"):
        with examples.writer(folder, split) as writer:
            for index in range(records):
                writer.add((example(split, index), ids))
    summary = summarise(folder, tokenizer, image_size=SIZE, max_tokens=text_params().max_tokens)
    write_json(folder / "summary.json", summary)


TASK = {
    "captions_per_image": 2,
    "pair_weight": 1.0,
    "training": {
        "steps": 1,
        "batch_size": 2,
        "learning_rate": 0.001,
        "warmup_share": 0.0,
        "weight_decay": 0.0,
        "gradient_clip": 1.0,
    },
}
MODEL = {
    "image": {"architecture": "custom", "layers": [1, 1], "stem": "small"},
    "text": {"hidden": 16, "layers": 1, "heads": 2, "intermediate": 32, "max_positions": 16, "dropout": 0.1},
    "fusion": {"name": "cross_attention", "hidden": 16, "layers": 1, "heads": 2, "mlp_ratio": 2.0, "dropout": 0.1},
}


def tiny_matching(prepared: Path, fusion: dict[str, Any] | None = None) -> Any:
    """An untrained matching task of a few thousand parameters, its scores spread as a trained one's are."""
    import torch  # here: most tests of bundles do without

    from vlp.data.loading import Prepared
    from vlp.models.configuration import ModelParams
    from vlp.models.modeling import VLPModel
    from vlp.params import parse
    from vlp.tasks.matching import Params, Task

    torch.manual_seed(0)
    data = Prepared(prepared)
    sizes = {"vocab_size": data.vocabulary_size, "image_size": data.image_size, "pad_token_id": data.pad_id}
    task = Task(
        parse(Params, TASK, "TASK"),
        VLPModel.from_params(parse(ModelParams, MODEL | {"fusion": fusion or MODEL["fusion"]}, "MODEL"), **sizes),
        data,
    )
    task.decision = {"threshold": 0.5}
    task.eval()
    with torch.no_grad():
        images = torch.from_numpy(np.stack([picture("red"), picture("blue")] * 8))
        ids = torch.randint(0, data.vocabulary_size, (16, 4))
        logits = task.logits(task.model.encode_image(images), ids, torch.ones_like(ids))
        task.logit.bias.sub_(logits.mean())
        task.logit.weight.mul_(2 / logits.std())
        task.logit.bias.mul_(2 / logits.std())
    return task


def write_toy_bundle(folder: Path, work: Path, threshold: float = 0.5) -> None:
    """A bundle whose matching graphs can be worked by hand.

    The logit is (red − blue of the mean pixel, 0 to 1) times the sum over a text's tokens of +10 for ``red`` and
    −10 for ``blue``: of a red picture "red" has probability σ(10), "blue" σ(−10), "purple" ½.

    Args:
        folder: the bundle, not yet there.
        work: an empty folder for what it is made from.
        threshold: of the decision.
    """
    tokenizer = write_tokenizer(work / "tokenizer")
    table = np.zeros((tokenizer.get_vocab_size(),), np.float32)
    table[tokenizer.token_to_id("red")], table[tokenizer.token_to_id("blue")] = 10, -10
    (folder / "matching").mkdir(parents=True)
    save_graph(_image_graph(), folder / "matching" / "image.onnx")
    save_graph(_score_graph(table), folder / "matching" / "score.onnx")
    (work / "matching.json").write_text('{"accuracy": 1.0}')
    features = [("image_tokens", "float32", ["texts", 1, 3]), ("image_pooled", "float32", ["texts", 3])]
    tokens = [("input_ids", "int64", ["texts", "length"]), ("attention_mask", "int64", ["texts", "length"])]
    parts = {
        "image": _part("image", [("images", "uint8", ["images", SIZE, SIZE, 3])], features),
        "score": _part("score", [*features, *tokens], [("logit", "float32", ["texts"])]),
    }
    contents = bundle.Contents(
        tasks={"matching": {"decision": {"threshold": threshold}, "parts": parts}},
        tokenizer=work / "tokenizer" / "tokenizer.json",
        params={"image": IMAGE_PARAMS, "text": TEXT_PARAMS},
        metrics={"matching": work / "matching.json"},
        lineage={"data": "0" * 64},
    )
    bundle.write(folder, contents)


def write_toy_classifier(folder: Path, work: Path) -> None:
    """A bundle of a classifier of texts: ``red`` in one means the label "red, or rose", ``blue`` the label "blue"."""
    tokenizer = write_tokenizer(work / "tokenizer")
    table = np.zeros((tokenizer.get_vocab_size(), 2), np.float32)
    table[tokenizer.token_to_id("red"), 0] = table[tokenizer.token_to_id("blue"), 1] = 10
    (folder / "classification").mkdir(parents=True)
    shape = ["texts", "length"]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["said"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "two"], ["wide"]),
            helper.make_node("Mul", ["said", "wide"], ["counted"]),
            helper.make_node("ReduceSum", ["counted", "one"], ["sum"], keepdims=0),
            helper.make_node("Sub", ["sum", "least"], ["logits"]),
        ],
        "label",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", 2])],
        [
            _constant("table", table),
            _constant("one", [1]),
            _constant("two", [2]),
            _constant("least", np.array([5], np.float32)),
        ],
    )
    save_graph(graph, folder / "classification" / "label.onnx")
    (work / "metrics.json").write_text("{}")
    decision = {
        "kind": "multi",
        "modality": "text",
        "labels": ["red, or rose", "blue"],
        "thresholds": [0.5, 0.5],
        "temperature": 1.0,
    }
    tokens = [("input_ids", "int64", shape), ("attention_mask", "int64", shape)]
    part = {**_part("label", tokens, [("logits", "float32", ["texts", 2])]), "file": "classification/label.onnx"}
    contents = bundle.Contents(
        tasks={"classification": {"decision": decision, "parts": {"label": part}}},
        tokenizer=work / "tokenizer" / "tokenizer.json",
        params={"image": IMAGE_PARAMS, "text": TEXT_PARAMS},
        metrics={"classification": work / "metrics.json"},
        lineage={"data": "0" * 64},
    )
    bundle.write(folder, contents)


def save_graph(graph: onnx.GraphProto, path: Path) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _part(name: str, inputs: list[Any], outputs: list[Any]) -> dict[str, Any]:
    def ports(entries: list[Any]) -> list[dict[str, Any]]:
        return [{"name": name, "type": kind, "shape": shape} for name, kind, shape in entries]

    return {"file": f"matching/{name}.onnx", "inputs": ports(inputs), "outputs": ports(outputs)}


def _constant(name: str, values: Any) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.asarray(values), name)


def _image_graph() -> onnx.GraphProto:
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "white"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "sides"], ["image_pooled"], keepdims=0),
        helper.make_node("Unsqueeze", ["image_pooled", "one"], ["image_tokens"]),
    ]
    return helper.make_graph(
        nodes,
        "image",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["images", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("image_tokens", TensorProto.FLOAT, ["images", 1, 3]),
            helper.make_tensor_value_info("image_pooled", TensorProto.FLOAT, ["images", 3]),
        ],
        [_constant("white", np.float32(255)), _constant("sides", [1, 2]), _constant("one", [1])],
    )


def _score_graph(table: np.ndarray) -> onnx.GraphProto:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["signs"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["signs", "mask"], ["counted"]),
        helper.make_node("ReduceSum", ["counted", "one"], ["said"], keepdims=0),
        helper.make_node("Mul", ["image_pooled", "red_less_blue"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "one"], ["seen"], keepdims=0),
        helper.make_node("Mul", ["said", "seen"], ["logit"]),
    ]
    return helper.make_graph(
        nodes,
        "score",
        [
            helper.make_tensor_value_info("image_tokens", TensorProto.FLOAT, ["texts", 1, 3]),
            helper.make_tensor_value_info("image_pooled", TensorProto.FLOAT, ["texts", 3]),
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["texts", "length"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["texts", "length"]),
        ],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["texts"])],
        [
            _constant("table", table),
            _constant("one", [1]),
            _constant("red_less_blue", np.array([1, 0, -1], np.float32)),
        ],
    )
