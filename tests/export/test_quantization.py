"""Eight-bit weights: smaller, near, the same each time, and only where the metric stands it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from support.bundles import save_graph
from vlp.export import quantization
from vlp.export.parity.base import ExportParams, Parity


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """Two matrix products: one by a constant, one of two inputs."""
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("MatMul", ["y", "x"], ["z"])],
        "product",
        [value("x", TensorProto.FLOAT, [64, 64])],
        [value("z", TensorProto.FLOAT, [64, 64])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    save_graph(graph, tmp_path / "product.onnx")
    return tmp_path / "product.onnx"


def outputs(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    return np.asarray(session.run(None, {"x": x})[0])


def test_constant_weights_are_quantised_and_the_answer_is_near(product: Path, tmp_path: Path) -> None:
    quantization.quantise(product, tmp_path / "light.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "light.onnx").graph.node]
    assert (kinds.count("MatMulInteger"), kinds.count("MatMul")) == (1, 1)
    wanted, found = outputs(product), outputs(tmp_path / "light.onnx")
    assert 0 < np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
    assert (tmp_path / "light.onnx").stat().st_size < product.stat().st_size / 2


def test_the_same_graph_gives_the_same_bytes(product: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        quantization.quantise(product, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize(("drop", "stands"), [(-0.1, True), (0.001, True), (0.0011, False), (float("nan"), False)])
def test_the_metric_decides(drop: float, stands: bool) -> None:
    limits = ExportParams(samples=1, max_abs_diff=0.1, max_metric_drop=0.001, int8=True)
    parity = Parity(max_abs_diff=0.5, metric_drop=drop, torch_ms=1.0, runtime_ms=1.0)
    assert quantization.stands(parity, limits) is stands
