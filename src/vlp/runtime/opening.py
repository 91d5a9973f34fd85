"""The graphs of a bundle, opened: each by its engine, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from vlp import plugins
from vlp.runtime.batching import Batching, Turn
from vlp.runtime.bundle import Bundle, BundleError, Part
from vlp.runtime.choice import Choice, Runtime, choose, exact
from vlp.runtime.inputs import Inputs
from vlp.runtime.session import Engine, Graph
from vlp.runtime.tasks.base import Answering
from vlp.runtime.threads import usable_processors

TASKS = "vlp.runtime.tasks"
Ran = Callable[[str, int], None]
"""Told of each batch that ran: the graph, ``<task>/<part>``, and its rows."""


def unheard(graph: str, rows: int) -> None:
    """A ``Ran`` that does nothing."""


@dataclass(frozen=True, slots=True)
class Running:
    """How the graphs of a bundle are run.

    ``threads``: of one run; None: what affinity and the control group's quota leave this process.
    ``runtime``: an engine, or ``auto``: for each graph the fastest that agrees, measured on opening.
    ``tolerance``: what another engine's outputs may differ from ONNX Runtime's by, as a share of the largest;
    ``choice.choose`` says what that means for graphs of eight bits.
    ``batch``: rows that requests of several threads may be run by together; 1: each by itself.
    ``ran``: told of each run of such a batch.
    """

    threads: int | None
    runtime: Runtime
    tolerance: float
    batch: int
    ran: Ran


def open_tasks(bundle: Bundle, inputs: Inputs, how: Running) -> tuple[dict[str, Answering], dict[str, Choice]]:
    """What answers each task of the bundle, and the engine of each graph, by ``<task>/<part>``.

    Raises:
        BundleError: a task is unknown; a graph cannot be opened; or the engine asked for is not there or not exact.
    """
    answers = {}
    for name in bundle.tasks:
        try:
            answers[name] = plugins.find(TASKS, name).Answers
        except plugins.UnknownPluginError as error:
            raise BundleError(f"{bundle.folder}: a task that this version cannot answer ({error})") from None
    graphs, engines = _graphs(bundle, how)
    return {name: answers[name](inputs, task, graphs[name]) for name, task in bundle.tasks.items()}, engines


def _graphs(bundle: Bundle, how: Running) -> tuple[dict[str, dict[str, Graph]], dict[str, Choice]]:
    """The graphs by task and key, and what runs each; several are opened at a time, each by one core."""
    threads = usable_processors() if how.threads is None else how.threads
    parts = [(name, key, part) for name, task in bundle.tasks.items() for key, part in task.parts.items()]
    turn = Turn()
    graphs: dict[str, dict[str, Graph]] = {name: {} for name in bundle.tasks}
    engines = {}

    def opened(part: Part) -> tuple[Engine, Choice]:
        return choose(bundle.path(part.file), part, threads, how.runtime, how.tolerance, exact(bundle, part))

    # What is measured is measured alone.
    with ThreadPoolExecutor(1 if how.runtime == "auto" else threads, "vlp-opening") as pool:
        found = list(pool.map(opened, [part for _, _, part in parts]))
    for (name, key, part), (engine, choice) in zip(parts, found, strict=True):
        full = f"{name}/{key}"
        engines[full] = choice
        if how.batch > 1:
            engine = Batching(engine, part, turn, how.batch, partial(how.ran, full))
        graphs[name][key] = Graph(part, engine)
    return graphs, engines
