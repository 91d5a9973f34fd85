from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from support.bundles import save_graph
from vlp.runtime.session import OnnxRuntime

SIDE, IDLE_S = 256, 0.02


def test_a_graph_that_waits_takes_no_processor_from_the_one_that_runs(tmp_path: Path) -> None:
    square = [TensorProto.FLOAT, [SIDE, SIDE]]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "x"], ["y"])],
        "square",
        [helper.make_tensor_value_info("x", *square)],
        [helper.make_tensor_value_info("y", *square)],
    )
    save_graph(graph, tmp_path / "square.onnx")
    engine = OnnxRuntime(tmp_path / "square.onnx", threads=2)
    taken = []
    for _ in range(5):
        engine.run({"x": np.ones((SIDE, SIDE), np.float32)})
        begun = time.process_time()  # of all threads
        time.sleep(IDLE_S)
        taken.append(time.process_time() - begun)
    assert min(taken) < IDLE_S / 4
