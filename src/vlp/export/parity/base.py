"""Does the bundle say what the model said? Answers on real test records, by both.

A file of this folder names, for one task, the requests, the two ways to answer one, and the metric; what
is done with them is the same for every task and stands here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from pydantic import Field

from vlp.params import Section
from vlp.progress import track


class ExportParams(Section):
    """``export``: how far an exported task may be from its model."""

    samples: int = Field(gt=0, description="test records that are put to both")
    max_abs_diff: float = Field(gt=0, description="of any score")
    max_metric_drop: float = Field(ge=0, le=1, description="of the task's own metric")
    int8: bool = Field(
        default=False,
        description="weights and activations of eight bits, in the tasks whose metric stands it on validation and test",
    )


Answered = Callable[[Any], np.ndarray]


class ParityError(ValueError):
    """An exported task answers otherwise than the model it was exported from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One task's requests and the two ways to answer one: scores float64 [n] each, in the same order.

    ``metric`` maps all scores, request after request, to the task's own metric: larger is better.
    """

    requests: Sequence[Any]
    by_torch: Answered
    by_runtime: Answered
    metric: Callable[[np.ndarray], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How far apart they are, and how long one request takes either way, milliseconds (median)."""

    max_abs_diff: float
    """Of any score. Rounded up to one digit, and at least 1e-6: what is below is noise of no interest."""
    metric_drop: float
    """The metric by torch less the metric by the runtime."""
    torch_ms: float
    runtime_ms: float

    @property
    def exact(self) -> dict[str, float]:
        """The figures that are the same from run to run, by the names of the metrics contract."""
        return {"max_abs_diff": self.max_abs_diff, "metric_drop": self.metric_drop}

    @property
    def timing(self) -> dict[str, float]:
        """The wall-clock figures by the names of the metrics contract."""
        return {"latency_ms_p50": self.runtime_ms, "speedup_vs_torch": self.torch_ms / self.runtime_ms}


def spread(count: int, samples: int) -> list[int]:
    """At most ``samples`` of ``count`` rows, evenly spread."""
    return sorted({int(row) for row in np.linspace(0, count - 1, min(count, samples))}) if count else []


def measure(comparison: Comparison) -> Parity:
    """Answer every request both ways, in turn, so that a busy machine is busy for both."""
    scores: dict[str, list[np.ndarray]] = {"torch": [], "runtime": []}
    times: dict[str, list[float]] = {"torch": [], "runtime": []}
    ways = {"torch": comparison.by_torch, "runtime": comparison.by_runtime}
    for request in track(comparison.requests, "requests"):
        for name, answer in ways.items():
            start = time.perf_counter()
            found = answer(request)
            times[name].append(1000 * (time.perf_counter() - start))
            scores[name].append(found)
    torch_scores, runtime_scores = np.concatenate(scores["torch"]), np.concatenate(scores["runtime"])
    drop = comparison.metric(torch_scores) - comparison.metric(runtime_scores)
    return Parity(
        max_abs_diff=_rounded_up(float(np.abs(torch_scores - runtime_scores).max())),
        metric_drop=round(drop, 6),
        torch_ms=median(times["torch"]),
        runtime_ms=median(times["runtime"]),
    )


def ask(comparison: Comparison) -> None:
    """Answer every request by the runtime alone: for what its graphs see."""
    for request in track(comparison.requests, "requests"):
        comparison.by_runtime(request)


def check(task: str, parity: Parity, limits: ExportParams, *, rounded: bool = False) -> None:
    """Refuse what is further apart than allowed.

    Args:
        task: its name.
        parity: what was measured.
        limits: what is allowed.
        rounded: the graphs compute in fewer bits than the model, so that scores may differ; the metric may not.

    Raises:
        ParityError: naming the task, the figure and its limit.
    """
    for key, value, limit in (
        ("max_abs_diff", parity.max_abs_diff, limits.max_abs_diff),
        ("max_metric_drop", parity.metric_drop, limits.max_metric_drop),
    ):
        if rounded and key == "max_abs_diff":
            continue
        if not value <= limit:  # this way round, a NaN is refused
            raise ParityError(
                f"{task}: {key} between model and exported graphs is {value:g}, allowed {limit:g} "
                f"(params.yaml: export.{key}); no bundle is written"
            )


def _rounded_up(value: float) -> float:
    if not math.isfinite(value):
        return value
    least = max(value, 1e-6)
    unit = 10.0 ** math.floor(math.log10(least))
    return round(math.ceil(round(least / unit, 9)) * unit, 12)
