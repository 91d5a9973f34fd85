"""One ONNX graph, opened for the processors there are.

Source: https://onnxruntime.ai/docs/performance/tune-performance/threading.html
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from vlp.runtime.bundle import BundleError, Part

_UNREADABLE = (
    failures.Fail,
    failures.InvalidGraph,
    failures.InvalidProtobuf,
    failures.NoModel,
    failures.NoSuchFile,
    failures.NotImplemented,
    failures.RuntimeException,
)


class Graph:
    """A graph and its named outputs.

    Args:
        path: the ONNX file.
        part: its inputs and outputs, as the bundle lists them.
        threads: of one run.

    Raises:
        BundleError: the file is no graph, or one with other inputs or outputs than listed.
    """

    def __init__(self, path: Path, part: Part, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 3  # errors only: what matters is raised
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except _UNREADABLE as error:
            raise BundleError(f"{path}: ONNX Runtime {onnxruntime.__version__} does not open it ({error})") from None
        self.part = part
        self._outputs = [port.name for port in part.outputs]
        self._check(path)

    def _check(self, path: Path) -> None:
        for what, listed, found in (
            ("inputs", self.part.inputs, self._session.get_inputs()),
            ("outputs", self.part.outputs, self._session.get_outputs()),
        ):
            names = [port.name for port in listed], [port.name for port in found]
            if names[0] != names[1]:
                raise BundleError(f"{path}: {what} {names[1]}, but bundle.json lists {names[0]}; export again")

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the graph on the arrays that it has inputs for; other arrays are left alone."""
        feeds = {port.name: np.ascontiguousarray(arrays[port.name], dtype=port.type) for port in self.part.inputs}
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))
