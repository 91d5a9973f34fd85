"""What a bundled task is given to answer with."""

from __future__ import annotations

from typing import Any

from vlp.runtime.bundle import BundledTask
from vlp.runtime.inputs import Inputs
from vlp.runtime.session import Graph


class Answering:
    """One task of an opened bundle. A file of this folder derives its class ``Answers`` from it.

    Methods come in pairs: ``verb`` takes what a caller sends and ``verb_prepared`` takes pixels and clean texts,
    from where preprocessing ends. Both may be called from several threads.

    Args:
        inputs: how requests are prepared; the same for every task of the bundle.
        task: what the bundle says of this task.
        graphs: its opened graphs, by part name.
    """

    def __init__(self, inputs: Inputs, task: BundledTask, graphs: dict[str, Graph]) -> None:
        self.inputs = inputs
        self.graphs = graphs
        self.decision: dict[str, Any] = task.decision
        """What was chosen on the validation split: thresholds, labels."""
