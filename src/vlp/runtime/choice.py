"""Which engine runs a graph: the one that was asked for, or the fastest of those that agree, measured here and now.

Speed depends on the processor and on the graph, so that no table can tell; parity is checked on the very machine
that serves, because an engine may choose other kernels there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from vlp.runtime.bundle import BundleError, Part
from vlp.runtime.session import Engine, check_ports, engine

Runtime = Literal["auto", "onnxruntime", "onnxruntime-cuda", "openvino", "openvino-bf16"]
REFERENCE = "onnxruntime"
OTHERS = ("onnxruntime-cuda", "openvino", "openvino-bf16")
_COARSEST = {"openvino-bf16": 2.0**-9}
"""What an engine's numbers are rounded by at least: below it, opening the engine to see that is wasted."""
_LENGTH, _ROWS = 8, 2
_ROUNDS = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The engine of one graph and why it is."""

    engine: str
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    """The least of some runs, by engine; empty where none was measured."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why an engine is out of the question, by engine."""


def choose(path: Path, part: Part, threads: int, runtime: Runtime, tolerance: float) -> tuple[Engine, Choice]:
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
    check_ports(path, part, reference)
    if runtime == REFERENCE:
        return reference, Choice(engine=REFERENCE)
    probe = _probe(part)
    try:
        wanted = reference.run(probe)
    except Exception as error:  # noqa: BLE001 - engines raise what they like; the graph still runs on real input
        if runtime != "auto":
            raise BundleError(f"{path}: {runtime} cannot be compared on made-up input ({error})") from None
        return reference, Choice(engine=REFERENCE, refused=dict.fromkeys(OTHERS, "no comparison on made-up input"))
    engines, refused = {REFERENCE: reference}, dict[str, str]()
    for name in OTHERS if runtime == "auto" else (runtime,):
        try:
            engines[name] = _agreeing(name, path, part, threads, probe, wanted, tolerance)
        except BundleError as error:
            refused[name] = str(error)
    if runtime != "auto":
        if runtime in refused:
            raise BundleError(f"{path}: runtime {runtime}: {refused[runtime]}")
        return engines[runtime], Choice(engine=runtime)
    taken = _measure(engines, probe)
    best = min(taken, key=lambda name: taken[name])
    return engines[best], Choice(engine=best, milliseconds=taken, refused=refused)


def _agreeing(
    name: str,
    path: Path,
    part: Part,
    threads: int,
    probe: dict[str, np.ndarray],
    wanted: list[np.ndarray],
    tolerance: float,
) -> Engine:
    """The engine ``name``, whose outputs are ``wanted`` within the tolerance.

    Raises:
        BundleError: it is not there, does not open the graph, or differs.
    """
    if (coarsest := _COARSEST.get(name, 0.0)) > tolerance:
        raise BundleError(f"rounds by {coarsest:.2g}, {tolerance:.2g} allowed")
    found = engine(name, path, threads)
    check_ports(path, part, found)
    if (apart := difference(wanted, found.run(probe))) > tolerance:
        raise BundleError(f"differs by {apart:.2g}, {tolerance:.2g} allowed")
    return found


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
    """Least milliseconds of a run, the engines in turn: what other work adds to a run says nothing of its engine."""
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(_ROUNDS):
        for name, one in engines.items():
            begun = time.perf_counter()
            one.run(probe)
            taken[name].append(1000 * (time.perf_counter() - begun))
    return {name: round(min(times), 3) for name, times in taken.items()}
