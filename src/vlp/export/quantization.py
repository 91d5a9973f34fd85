"""Graphs with weights of eight bits: a quarter of the bytes, and quicker where a processor multiplies such numbers.

Matrix products with constant weights are quantised, channel by channel and symmetrically; what they are multiplied by
is quantised as it comes (dynamic quantisation), so no data is needed. Convolutions stay as they are: without measured
ranges ONNX Runtime runs them slower in eight bits than in 32.

Whether a task stands it, its own metric says, on the validation split: a task that loses more than
``export.max_metric_drop`` keeps its 32 bits.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from vlp.export import bundle
from vlp.export.parity.base import ExportParams, Parity
from vlp.runtime.predictor import Predictor

KIND = "int8"
"""What such a task's ``weights`` are called in ``bundle.json``."""
_PRODUCTS = ["MatMul", "Gemm"]
_OPTIONS = {"MatMulConstBOnly": True, "WeightSymmetric": True}

Measure = Callable[[str, Predictor], Parity]
"""Holds one task's bundled graphs against its model on the validation split."""


def lighten(folder: Path, contents: bundle.Contents, measure: Measure, limits: ExportParams) -> dict[str, Parity]:
    """Replace the graphs of each task whose metric stands it by quantised ones.

    Args:
        folder: holds the graphs of every task; those that are replaced are overwritten.
        contents: of the bundle to be; the entries of tasks that were replaced say so, under ``weights``.
        measure: of one task.
        limits: ``max_metric_drop`` decides.

    Returns:
        What was measured on the validation split, of every task.
    """
    found: dict[str, Parity] = {}
    with TemporaryDirectory(prefix="int8-", dir=folder.parent) as name:
        trial = Path(name)
        for task in contents.tasks:
            (trial / task).mkdir()
            for path in sorted((folder / task).glob("*.onnx")):
                quantise(path, trial / task / path.name)
        bundle.write(trial, replace(contents, tasks=_marked(contents.tasks)))
        predictor = Predictor.open(trial, verify=False)
        for task, entry in contents.tasks.items():
            found[task] = measure(task, predictor)
            if stands(found[task], limits):
                for path in (trial / task).glob("*.onnx"):
                    shutil.copyfile(path, folder / task / path.name)
                entry["weights"] = KIND
    return found


def stands(parity: Parity, limits: ExportParams) -> bool:
    """Whether a task may be quantised; a metric that is no number may not."""
    return parity.metric_drop <= limits.max_metric_drop


def quantise(source: Path, target: Path) -> None:
    """Write the graph of ``source`` with eight-bit weights to ``target``; the same bytes each time."""
    with _quiet():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=_PRODUCTS,
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options=_OPTIONS,
        )
    target.write_bytes(onnx.load(target).SerializeToString(deterministic=True))


def _marked(tasks: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {**entry, "weights": KIND} for name, entry in tasks.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Its advice to simplify the graph first is for graphs that the exporter has not simplified."""
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
