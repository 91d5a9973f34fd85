"""One ONNX graph, opened by an engine for the processors there are.

Sources: https://onnxruntime.ai/docs/performance/tune-performance/threading.html and
https://docs.openvino.ai/2026/openvino-workflow/running-inference/optimize-inference.html
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

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


class Engine(Protocol):
    """What can run a graph. Runs may come from several threads at once."""

    @property
    def inputs(self) -> Sequence[str]:
        """Names, in the graph's order."""

    @property
    def outputs(self) -> Sequence[str]:
        """Names, in the graph's order."""

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs, in order, of one array for each input."""


CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# 32 bits are meant: TF32 keeps ten of the mantissa's 23 bits.
_CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


class OnnxRuntime:
    """ONNX Runtime in 32 bits, in the same order of additions each time.

    Args:
        path: the ONNX file.
        threads: of one run.
        cuda: on the GPU; what its provider lacks runs on the processor.

    Raises:
        BundleError: the file is no graph; or there is no GPU, or no package that uses one.
    """

    def __init__(self, path: Path, threads: int, *, cuda: bool = False) -> None:
        if cuda and CUDA not in onnxruntime.get_available_providers():
            raise BundleError("the runtime onnxruntime-cuda is not installed: pip install onnxruntime-gpu")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        # A graph's threads wait for its next run in a busy loop. A bundle has a graph or more a task: the idle ones
        # would take the cores from the one that runs, which halves the speed of everything on two of them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only: what matters is raised
        providers: list[Any] = [(CUDA, _CUDA_OPTIONS), CPU] if cuda else [CPU]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except _UNREADABLE as error:
            raise BundleError(f"{path}: ONNX Runtime {onnxruntime.__version__} does not open it ({error})") from None
        if cuda and CUDA not in self._session.get_providers():  # it falls back without a word
            raise BundleError("the runtime onnxruntime-cuda finds no GPU that it can use")
        self.inputs: Sequence[str] = [port.name for port in self._session.get_inputs()]
        self.outputs: Sequence[str] = [port.name for port in self._session.get_outputs()]

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """As of ``Engine``."""
        found: list[np.ndarray] = self._session.run(self.outputs, feeds)
        return found


class OpenVino:
    """OpenVINO on the processor; an optional package.

    Args:
        path: the ONNX file.
        threads: of one run.
        precision: ``f32``, or ``bf16`` where the processor multiplies it: faster and less exact.

    Raises:
        BundleError: OpenVINO is not installed, or cannot run the graph.
    """

    def __init__(self, path: Path, threads: int, precision: str) -> None:
        if importlib.util.find_spec("openvino") is None:
            raise BundleError("the runtime openvino is not installed: pip install openvino")
        import openvino  # here: half a second, and not everybody's

        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        try:
            self._model = openvino.Core().compile_model(str(path), "CPU", settings)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise BundleError(f"{path}: OpenVINO {openvino.__version__} does not open it ({reason})") from None
        self.inputs: Sequence[str] = [port.get_any_name() for port in self._model.inputs]
        self.outputs: Sequence[str] = [port.get_any_name() for port in self._model.outputs]
        self._requests = threading.local()  # one request serves one run at a time

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """As of ``Engine``."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        found = self._requests.own.infer(feeds)
        return [np.array(found[index]) for index in range(len(self.outputs))]  # the request reuses its memory


def engine(name: str, path: Path, threads: int) -> Engine:
    """The engine ``name`` with the graph of ``path`` opened.

    Args:
        name: ``onnxruntime``, ``onnxruntime-cuda``, ``openvino`` or ``openvino-bf16``.
        path: the ONNX file.
        threads: of one run.

    Raises:
        BundleError: it is not installed, or cannot run the graph.
    """
    if name.startswith("onnxruntime"):
        return OnnxRuntime(path, threads, cuda=name == "onnxruntime-cuda")
    return OpenVino(path, threads, "bf16" if name == "openvino-bf16" else "f32")


def check_ports(path: Path, part: Part, engine: Engine) -> None:
    """Check that a graph has the inputs and outputs that the bundle lists.

    Raises:
        BundleError: it has others.
    """
    for what, listed, found in (("inputs", part.inputs, engine.inputs), ("outputs", part.outputs, engine.outputs)):
        if (names := [port.name for port in listed]) != list(found):
            raise BundleError(f"{path}: {what} {list(found)}, but bundle.json lists {names}; export again")


class Graph:
    """A graph and its named outputs.

    Args:
        part: its inputs and outputs, as the bundle lists them.
        engine: with the graph opened.

    Attributes:
        part: as above.
        engine: as above.
    """

    def __init__(self, part: Part, engine: Engine) -> None:
        self.part = part
        self.engine = engine
        self._outputs = [port.name for port in part.outputs]

    def __call__(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Run the graph on the arrays that it has inputs for; other arrays are left alone."""
        feeds = {port.name: np.ascontiguousarray(arrays[port.name], dtype=port.type) for port in self.part.inputs}
        return dict(zip(self._outputs, self.engine.run(feeds), strict=True))
