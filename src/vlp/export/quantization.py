"""Graphs of eight bits: a quarter of the bytes, and quicker where a processor multiplies such numbers.

Convolutions, and matrix products with constant weights, are quantised: weights channel by channel and symmetrically,
what they are multiplied by within the range that training records showed there (static quantisation). So a row's
answer does not depend on the rows that it happens to run with, as it would if ranges were measured as it runs.

Whether a task stands it, its own metric says, on the validation split and then on the test split, by which the whole
bundle is judged: a task that loses more than ``export.max_metric_drop`` on either keeps its 32 bits.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from vlp.export import bundle
from vlp.export.parity.base import ExportParams, Parity
from vlp.runtime.choice import made_up
from vlp.runtime.predictor import Predictor
from vlp.runtime.session import Engine, Graph

KIND = "int8"
"""What such a task's ``weights`` are called in ``bundle.json``."""
EXACT = ".npz"
"""Of the file beside such a graph: what it gave in 32 bits."""
RUNS = 64
"""At most so many runs of a graph are kept to see ranges in."""
logger = logging.getLogger(__name__)
_PRODUCTS = ["Conv", "MatMul", "Gemm"]
# A product of matrices gives 32 bits, as cheaply: what is added to it next would otherwise be rounded twice.
_OPTIONS = {"WeightSymmetric": True, "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]}

Ask = Callable[[str, Predictor], None]
"""Puts training records to one task's bundled graphs."""
Feeds = dict[str, np.ndarray]
Measure = Callable[[str, Predictor, str], Parity]
"""Holds one task's bundled graphs against its model on the split of that name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What eight bits cost one task, or would have cost it."""

    drops: Mapping[str, float]
    """Of the task's metric, by split; none on the test split where validation had decided."""
    kept: bool


class Seen:
    """An engine that keeps what it is asked to run: of many runs, ``most`` or fewer at even distances.

    Args:
        engine: runs the graph.
        most: of the runs that are kept.

    Attributes:
        feeds: of the runs that are kept, in order.
    """

    def __init__(self, engine: Engine, most: int = RUNS) -> None:
        self.inputs: Sequence[str] = engine.inputs
        self.outputs: Sequence[str] = engine.outputs
        self.feeds: list[Feeds] = []
        self._engine = engine
        self._most = most
        self._count, self._every = 0, 1

    def run(self, feeds: Feeds) -> list[np.ndarray]:
        """As of ``Engine``."""
        if self._count % self._every == 0:
            self.feeds.append(feeds)
            if len(self.feeds) > self._most:
                self.feeds = self.feeds[::2]
                self._every *= 2
        self._count += 1
        return self._engine.run(feeds)


def watch(predictor: Predictor, task: str) -> dict[str, Seen]:
    """From now on, keep what the graphs of ``task`` are asked to run; by part."""
    graphs: dict[str, Graph] = predictor.task(task).graphs
    seen = {part: Seen(graph.engine) for part, graph in graphs.items()}
    graphs.update({part: Graph(graphs[part].part, engine) for part, engine in seen.items()})
    return seen


def lighten(
    folder: Path, contents: bundle.Contents, ask: Ask, measure: Measure, limits: ExportParams
) -> dict[str, Trial]:
    """Replace the graphs of each task whose metric stands it by quantised ones.

    Args:
        folder: holds the graphs of every task; those that are replaced are overwritten.
        contents: of the bundle to be; the entries of tasks that were replaced say so, under ``weights``.
        ask: what ranges are seen in. A graph that it does not reach keeps its 32 bits.
        measure: of one task.
        limits: ``max_metric_drop`` decides.

    Returns:
        What was measured, of every task.
    """
    found: dict[str, Trial] = {}
    with _workshop(folder.parent / f".{KIND}.partial") as work:
        plain, trial = work / "float32", work / KIND
        shutil.copytree(folder, plain)
        shutil.copytree(folder, trial)
        bundle.write(plain, contents)
        predictor = Predictor.open(plain, verify=False)
        for task, entry in contents.tasks.items():
            seen = watch(predictor, task)
            ask(task, predictor)
            for part, listed in entry["parts"].items():
                if feeds := seen[part].feeds:
                    quantise(plain / listed["file"], trial / listed["file"], feeds)
                    feeds.clear()  # caches of keys and values are large
                    keep_exact(predictor.task(task).graphs[part], trial / listed["file"])
        tasks = {task: marked(entry, trial) for task, entry in contents.tasks.items()}
        bundle.write(trial, replace(contents, tasks=tasks))
        predictor = Predictor.open(trial, verify=False)
        for task, entry in contents.tasks.items():
            found[task] = tried(partial(measure, task, predictor), limits)
            if found[task].kept:
                entry.update(tasks[task])
                for part in entry["parts"].values():
                    for file in (part["file"], part.get("exact")):
                        if file is not None:
                            shutil.copyfile(trial / file, folder / file)
    return found


@contextmanager
def _workshop(path: Path) -> Iterator[Path]:
    """An empty folder for a while. Its name is fixed, so that what a kill leaves goes with the next run."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path)


def tried(measure: Callable[[str], Parity], limits: ExportParams) -> Trial:
    """Whether a task may be quantised: on every split its metric holds. One that is no number does not."""
    drops: dict[str, float] = {}
    for split in ("validation", "test"):
        drops[split] = measure(split).metric_drop
        if not drops[split] <= limits.max_metric_drop:
            return Trial(drops=drops, kept=False)
    return Trial(drops=drops, kept=True)


def quantise(source: Path, target: Path, feeds: Sequence[Feeds]) -> None:
    """Write the graph of ``source`` in eight bits to ``target``; of the same feeds the same bytes each time.

    Args:
        source: an ONNX file in 32 bits.
        target: the file to write.
        feeds: inputs of real runs; what is beyond their ranges is cut off.
    """
    graph = onnx.load(source).graph
    constants = {made.name for made in graph.initializer}
    nodes = [node.name for node in graph.node if node.op_type in _PRODUCTS and node.input[1] in constants]
    assert all(nodes), f"{source}: the exporter has left a node without a name"
    if not nodes:  # an empty list would mean all there are
        shutil.copyfile(source, target)
        return
    rectified = _rectified(graph, set(nodes))
    with _quiet():
        quantize_static(
            source,
            target,
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,  # what OpenVINO understands, too
            nodes_to_quantize=[*nodes, *rectified],
            op_types_to_quantize=[*_PRODUCTS, "Relu"],
            per_channel=True,
            # Of the four pairs of signs, the one that ONNX Runtime has quick kernels for on x86.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options=_OPTIONS,
        )
    found = onnx.load(target)
    _spare(found.graph, set(nodes))
    target.write_bytes(found.SerializeToString(deterministic=True))


def keep_exact(plain: Graph, target: Path) -> None:
    """Write what a graph gives in 32 bits for made-up input beside ``target``, its copy in eight.

    An engine that serves the copy is judged by it, where there are no records to judge by (``vlp.runtime.choice``).
    """
    try:
        outputs = plain(made_up(plain.part))
    except Exception as error:  # noqa: BLE001 - engines raise what they like; without it one engine less can be taken
        logger.info("%s: no outputs for made-up input (%s)", target.name, error)
        return
    np.savez(target.with_suffix(EXACT), allow_pickle=False, **outputs)


def marked(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A task's entry of ``bundle.json`` that says that its graphs, which ``folder`` holds, are of eight bits."""
    parts: dict[str, dict[str, Any]] = {}
    for name, part in entry["parts"].items():
        exact = Path(part["file"]).with_suffix(EXACT)
        parts[name] = {**part, "exact": exact.as_posix()} if (folder / exact).is_file() else dict(part)
    return {**entry, "weights": KIND, "parts": parts}


def _rectified(graph: onnx.GraphProto, products: set[str]) -> list[str]:
    """Rectifiers of a convolution alone: its eight bits are those of what is left, all of them above zero.

    Otherwise the convolution gives eight bits of both signs, to be rectified in 32 and rounded once more.
    """
    convolved = {node.output[0] for node in graph.node if node.name in products and node.op_type == "Conv"}
    read = Counter(name for node in graph.node for name in node.input)
    return [
        node.name
        for node in graph.node
        if node.op_type == "Relu" and node.input[0] in convolved and read[node.input[0]] == 1
    ]


def _spare(graph: onnx.GraphProto, products: set[str]) -> None:
    """Round for matrix products only what they multiply.

    What else reads the same numbers, such as the sum that goes around a layer, gets them as they were. Between
    convolutions they stay in eight bits: there the sum is part of the convolution's own kernel.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    matrices = {name for node in graph.node if node.name in products and node.op_type != "Conv" for name in node.input}
    for node in graph.node:
        if node.name in products or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for place, name in enumerate(node.input):
            if name in matrices and (rounded := made_by[made_by[name].input[0]]).op_type == "QuantizeLinear":
                node.input[place] = rounded.input[0]


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._feeds, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Its advice to simplify the graph first is for graphs that the exporter has not simplified."""
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
