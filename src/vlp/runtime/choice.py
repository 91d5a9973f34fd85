"""Which engine runs a graph: the one that was asked for, or the fastest of those that agree, measured here and now.

Speed depends on the processor and on the graph, so that no table can tell; parity is checked on the very machine
that serves, because an engine may choose other kernels there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from vlp.runtime.bundle import BundleError, Part
from vlp.runtime.session import Engine, Graph, engine

Runtime = Literal["auto", "onnxruntime", "openvino", "openvino-bf16"]
REFERENCE = "onnxruntime"
OTHERS = ("openvino", "openvino-bf16")
_LENGTH, _ROWS = 8, 2
_ROUNDS = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The engine of one graph and why it is."""

    engine: str
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    """Median of one run, by engine; empty where none was measured."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why an engine is out of the question, by engine."""


def open_graph(path: Path, part: Part, threads: int, runtime: Runtime, tolerance: float) -> tuple[Graph, Choice]:
    """Open a graph with the engine that ``runtime`` says.

    Args:
        path: the ONNX file.
        part: its inputs and outputs.
        threads: of one run.
        runtime: an engine, or ``auto``.
        tolerance: what an output may differ from ONNX Runtime's by, as a share of that output's largest value.

    Raises:
        BundleError: the graph cannot be opened; or the engine asked for is not installed or not exact enough.
    """
    reference = engine(REFERENCE, path, threads)
    graph = Graph(path, part, reference)
    if runtime == REFERENCE:
        return graph, Choice(engine=REFERENCE)
    probe = _probe(part)
    try:
        wanted = reference.run(probe)
    except Exception as error:  # noqa: BLE001 - engines raise what they like; the graph still runs on real input
        if runtime != "auto":
            raise BundleError(f"{path}: {runtime} cannot be compared on made-up input ({error})") from None
        return graph, Choice(engine=REFERENCE, refused=dict.fromkeys(OTHERS, "no comparison on made-up input"))
    engines, refused = {REFERENCE: reference}, dict[str, str]()
    for name in OTHERS if runtime == "auto" else (runtime,):
        try:
            found = engine(name, path, threads)
            Graph(path, part, found)
        except BundleError as error:
            refused[name] = str(error)
            continue
        if (apart := difference(wanted, found.run(probe))) > tolerance:
            refused[name] = f"differs by {apart:.2g}, {tolerance:.2g} allowed"
        else:
            engines[name] = found
    if runtime != "auto":
        if runtime in refused:
            raise BundleError(f"{path}: runtime {runtime}: {refused[runtime]}")
        return Graph(path, part, engines[runtime]), Choice(engine=runtime)
    taken = _measure(engines, probe)
    best = min(taken, key=lambda name: taken[name])
    return Graph(path, part, engines[best]), Choice(engine=best, milliseconds=taken, refused=refused)


def difference(wanted: list[np.ndarray], found: list[np.ndarray]) -> float:
    """The largest difference of any output, as a share of that output's largest value; infinite if not finite."""
    shares = [0.0]
    for one, other in zip(wanted, found, strict=True):
        if one.shape != other.shape or not np.isfinite(other).all():
            return float("inf")
        largest = float(np.abs(one).max(initial=0.0))
        shares.append(float(np.abs(one.astype(np.float64) - other).max(initial=0.0)) / max(largest, 1e-6))
    return max(shares)


def _probe(part: Part) -> dict[str, np.ndarray]:
    """Made-up input: noise for pixels and features, small ids, nothing masked."""
    rng = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {}
    for port in part.inputs:
        shape = [_size(axis) for axis in port.shape]
        if port.type == "uint8":
            feeds[port.name] = rng.integers(0, 256, shape, np.uint8)
        elif port.type.startswith("float"):
            feeds[port.name] = rng.standard_normal(shape).astype(port.type)
        elif "mask" in port.name or port.type == "bool":
            feeds[port.name] = np.ones(shape, port.type)
        else:
            feeds[port.name] = rng.integers(1, 32, shape).astype(port.type)
    return feeds


def _size(axis: int | str) -> int:
    if isinstance(axis, int):
        return axis
    return _LENGTH if "length" in axis else _ROWS


def _measure(engines: Mapping[str, Engine], probe: dict[str, np.ndarray]) -> dict[str, float]:
    """Median milliseconds of a run, the engines in turn so that a busy moment meets them all."""
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(_ROUNDS):
        for name, one in engines.items():
            begun = time.perf_counter()
            one.run(probe)
            taken[name].append(1000 * (time.perf_counter() - begun))
    return {name: round(statistics.median(times), 3) for name, times in taken.items()}
