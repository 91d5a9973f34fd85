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
from zipfile import BadZipFile

import numpy as np

from vlp.runtime.bundle import Bundle, BundleError, Part
from vlp.runtime.session import Engine, check_ports, engine

Runtime = Literal["auto", "onnxruntime", "onnxruntime-cuda", "openvino", "openvino-bf16"]
REFERENCE = "onnxruntime"
OTHERS = ("onnxruntime-cuda", "openvino", "openvino-bf16")
_COARSEST = {"openvino-bf16": 2.0**-9}
"""What an engine's numbers are rounded by at least: below it, opening the engine to see that is wasted."""
EIGHT_BITS = 2.0**-8
"""What a graph of eight bits rounds its numbers by, each engine in its own places."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Yardstick:
    """What an engine's outputs are held against, and how far off they may be."""

    probe: dict[str, np.ndarray]
    wanted: list[np.ndarray]
    """ONNX Runtime's outputs for it."""
    exact: list[np.ndarray] | None
    tolerance: float

    def apart(self, found: list[np.ndarray]) -> float:
        """How far off outputs are: from ONNX Runtime's, or how much further than they from what 32 bits gave.

        Two engines that round in different places differ by more than either of them is wrong by. Whoever allows less
        than the rounding itself means the very numbers, and gets them.
        """
        apart = difference(self.wanted, found)
        if self.exact is None or self.tolerance < EIGHT_BITS:
            return apart
        return min(apart, difference(self.exact, found) - difference(self.exact, self.wanted))


def choose(
    path: Path,
    part: Part,
    threads: int,
    runtime: Runtime,
    tolerance: float,
    exact: list[np.ndarray] | None = None,
) -> tuple[Engine, Choice]:
    """Open a graph with the engine that ``runtime`` says.

    Args:
        path: the ONNX file.
        part: its inputs and outputs.
        threads: of one run.
        runtime: an engine, or ``auto``.
        tolerance: what an output may differ from ONNX Runtime's by, as a share of that output's largest value.
        exact: of a graph of eight bits, what 32 gave for ``made_up`` input: from ``EIGHT_BITS`` of tolerance on, an
            engine that is no further from it than ONNX Runtime is may be taken as well.

    Raises:
        BundleError: the graph cannot be opened; or the engine asked for is not installed or not exact enough.
    """
    reference = engine(REFERENCE, path, threads)
    check_ports(path, part, reference)
    if runtime == REFERENCE:
        return reference, Choice(engine=REFERENCE)
    probe = made_up(part)
    try:
        wanted = reference.run(probe)
    except Exception as error:  # noqa: BLE001 - engines raise what they like; the graph still runs on real input
        if runtime != "auto":
            raise BundleError(f"{path}: {runtime} cannot be compared on made-up input ({error})") from None
        return reference, Choice(engine=REFERENCE, refused=dict.fromkeys(OTHERS, "no comparison on made-up input"))
    yardstick = _Yardstick(probe=probe, wanted=wanted, exact=exact, tolerance=tolerance)
    engines, refused = {REFERENCE: reference}, dict[str, str]()
    for name in OTHERS if runtime == "auto" else (runtime,):
        try:
            engines[name] = _agreeing(name, path, part, threads, yardstick)
        except BundleError as error:
            refused[name] = str(error)
    if runtime != "auto":
        if runtime in refused:
            raise BundleError(f"{path}: runtime {runtime}: {refused[runtime]}")
        return engines[runtime], Choice(engine=runtime)
    taken = _measure(engines, probe)
    best = min(taken, key=lambda name: taken[name])
    return engines[best], Choice(engine=best, milliseconds=taken, refused=refused)


def _agreeing(name: str, path: Path, part: Part, threads: int, yardstick: _Yardstick) -> Engine:
    """The engine ``name``, whose outputs are near enough.

    Raises:
        BundleError: it is not there, does not open the graph, or differs.
    """
    allowed = yardstick.tolerance
    if (coarsest := _COARSEST.get(name, 0.0)) > allowed:
        raise BundleError(f"rounds by {coarsest:.2g}, {allowed:.2g} allowed")
    found = engine(name, path, threads)
    check_ports(path, part, found)
    if (apart := yardstick.apart(found.run(yardstick.probe))) > allowed:
        raise BundleError(f"differs by {apart:.2g}, {allowed:.2g} allowed")
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


def exact(bundle: Bundle, part: Part) -> list[np.ndarray] | None:
    """The arrays of ``part.exact``, one an output; None where the bundle has none.

    Raises:
        BundleError: the file is not readable.
    """
    if part.exact is None:
        return None
    path = bundle.path(part.exact)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[port.name] for port in part.outputs]
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise BundleError(f"{path}: not the outputs of {part.file} ({error}); export the bundle again") from None


def made_up(part: Part) -> dict[str, np.ndarray]:
    """Input that engines are compared on: noise for pixels and features, small ids, nothing masked."""
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
