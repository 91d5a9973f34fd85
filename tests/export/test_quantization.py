"""Graphs of eight bits: smaller, near, the same each time and in any company, and only where the metric stands it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from support.bundles import save_graph
from vlp.export import quantization
from vlp.export.parity.base import ExportParams, Parity
from vlp.runtime.bundle import Part, Port
from vlp.runtime.choice import made_up
from vlp.runtime.session import Graph, engine


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """Two matrix products: one by a constant, one of two inputs."""
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"], "constant"),
            helper.make_node("MatMul", ["y", "x"], ["z"], "free"),
        ],
        "product",
        [value("x", TensorProto.FLOAT, [64, 64])],
        [value("z", TensorProto.FLOAT, [64, 64])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    save_graph(graph, tmp_path / "product.onnx")
    return tmp_path / "product.onnx"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """One matrix product, row by row."""
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"], "constant")],
        "rows",
        [value("x", TensorProto.FLOAT, ["texts", 64])],
        [value("z", TensorProto.FLOAT, ["texts", 64])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    save_graph(graph, tmp_path / "rows.onnx")
    return tmp_path / "rows.onnx"


def inputs(seed: int, rows: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 64)).astype(np.float32)


def outputs(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_constant_weights_are_quantised_and_the_answer_is_near(product: Path, tmp_path: Path) -> None:
    quantization.quantise(product, tmp_path / "light.onnx", [{"x": inputs(seed)} for seed in range(4)])
    graph = onnx.load(tmp_path / "light.onnx").graph
    eight = {made.name for made in graph.initializer if made.data_type == TensorProto.INT8 and len(made.dims) == 2}
    assert len(eight) == 1
    products = [node for node in graph.node if node.op_type == "MatMul"]
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    assert [made_by.get(name, "") for name in products[0].input] == ["DequantizeLinear"] * 2
    assert list(products[1].input) == ["y", "x"]  # a product of two inputs stays as it is
    wanted, found = outputs(product, inputs(9)), outputs(tmp_path / "light.onnx", inputs(9))
    assert 0 < np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()
    assert (tmp_path / "light.onnx").stat().st_size < product.stat().st_size / 2


def test_a_graph_without_constant_products_stays_as_it_is(product: Path, tmp_path: Path) -> None:
    model = onnx.load(product)
    del model.graph.node[0], model.graph.initializer[:]
    model.graph.node[0].input[0] = "x"
    onnx.save(model, product)
    quantization.quantise(product, tmp_path / "light.onnx", [{"x": inputs(0)}])
    assert (tmp_path / "light.onnx").read_bytes() == product.read_bytes()


def test_the_same_graph_and_runs_give_the_same_bytes(product: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        quantization.quantise(product, tmp_path / name, [{"x": inputs(0)}])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.fixture
def convolutions(tmp_path: Path) -> Path:
    """Two convolutions, each rectified, and the first one's sum with what is left of it."""
    kernels = np.random.default_rng(0).standard_normal((2, 4, 4, 3, 3)).astype(np.float32) / 6
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "k0"], ["a"], "first", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"], "first_left"),
            helper.make_node("Conv", ["b", "k1"], ["c"], "second", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["d"], "second_left"),
            helper.make_node("Add", ["c", "d"], ["y"], "sum"),
        ],
        "convolutions",
        [value("x", TensorProto.FLOAT, ["images", 4, 8, 8])],
        [value("y", TensorProto.FLOAT, ["images", 4, 8, 8])],
        [onnx.numpy_helper.from_array(kernel, f"k{number}") for number, kernel in enumerate(kernels)],
    )
    save_graph(graph, tmp_path / "convolutions.onnx")
    return tmp_path / "convolutions.onnx"


def test_a_rectified_convolution_is_rounded_once(convolutions: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((8, 4, 8, 8)).astype(np.float32)
    quantization.quantise(convolutions, tmp_path / "light.onnx", [{"x": x}])
    graph = onnx.load(tmp_path / "light.onnx").graph
    made_by = {name: node for node in graph.node for name in node.output}
    read_by = {name: node for node in graph.node for name in node.input}
    constants = {made.name: onnx.numpy_helper.to_array(made) for made in graph.initializer}
    # What the first leaves is all of its eight bits; the second's other reader wants what is below zero, too.
    first, second = (next(node for node in graph.node if node.name == name) for name in ("first", "second"))
    rounded = read_by[first.output[0]]
    assert rounded.op_type == "QuantizeLinear" and constants[rounded.input[2]] == 0
    assert made_by[second.input[0]].input[0] == rounded.output[0]
    assert [node.name for node in graph.node if node.op_type == "Relu"] == ["second_left"]
    wanted, found = outputs(convolutions, x), outputs(tmp_path / "light.onnx", x)
    assert 0 < np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()


def test_what_32_bits_gave_is_kept_beside_the_graph_of_eight(rows: Path, tmp_path: Path) -> None:
    ports = tuple(Port(name, "float32", ("texts", 64)) for name in ("x", "z"))
    part = Part(file="rows.onnx", inputs=ports[:1], outputs=ports[1:])
    (tmp_path / "light").mkdir()
    entry = {"parts": {name: {"file": f"{name}.onnx"} for name in ("rows", "other")}}
    quantization.keep_exact(Graph(part, engine("onnxruntime", rows, 1)), tmp_path / "light" / "rows.onnx")
    quantization.keep_exact(Graph(part, Broken()), tmp_path / "light" / "other.onnx")
    assert quantization.marked(entry, tmp_path / "light") == {
        "weights": "int8",
        "parts": {"rows": {"file": "rows.onnx", "exact": "rows.npz"}, "other": {"file": "other.onnx"}},
    }
    with np.load(tmp_path / "light" / "rows.npz") as kept:
        np.testing.assert_array_equal(kept["z"], outputs(rows, made_up(part)["x"]))


def test_an_answer_does_not_depend_on_the_rows_it_runs_with(rows: Path, tmp_path: Path) -> None:
    quantization.quantise(rows, tmp_path / "light.onnx", [{"x": inputs(0)}])
    x = inputs(1, rows=8)
    alone = outputs(tmp_path / "light.onnx", x[:1])
    beside_a_giant = outputs(tmp_path / "light.onnx", np.concatenate([x[:1], 1000 * x[1:]]))[:1]
    np.testing.assert_array_equal(alone, beside_a_giant)


class Echo:
    inputs: Sequence[str] = ("x",)
    outputs: Sequence[str] = ("y",)

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [feeds["x"]]


class Broken(Echo):
    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        raise RuntimeError("no such input")


@pytest.mark.parametrize(
    ("runs", "kept"), [(1, [0]), (4, [0, 1, 2, 3]), (5, [0, 2, 4]), (9, [0, 4, 8]), (14, [0, 4, 8, 12])]
)
def test_of_many_runs_a_few_are_kept_at_even_distances(runs: int, kept: list[int]) -> None:
    seen = quantization.Seen(Echo(), most=4)
    for run in range(runs):
        assert seen.run({"x": np.array([run])})[0].item() == run
    assert [feeds["x"].item() for feeds in seen.feeds] == kept


@pytest.mark.parametrize(
    ("validation", "test", "asked", "kept"),
    [
        (-0.1, 0.001, 2, True),
        (0.001, -0.1, 2, True),
        (0.0011, 0.0, 1, False),
        (float("nan"), 0.0, 1, False),
        (0.0, 0.0011, 2, False),
        (0.0, float("nan"), 2, False),
    ],
)
def test_the_metric_decides_on_both_splits(validation: float, test: float, asked: int, kept: bool) -> None:
    limits = ExportParams(samples=1, max_abs_diff=0.1, max_metric_drop=0.001, int8=True)
    drops = {"validation": validation, "test": test}

    def measure(split: str) -> Parity:
        return Parity(max_abs_diff=0.5, metric_drop=drops[split], torch_ms=1.0, runtime_ms=1.0)

    trial = quantization.tried(measure, limits)
    assert trial.kept is kept
    assert [str(drop) for drop in trial.drops.values()] == [str(drop) for drop in [validation, test][:asked]]
