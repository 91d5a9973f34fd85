"""Is a caption true of its picture? On ``scenes`` an oracle knows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlp.data.scenes.grammar import parse
from vlp.data.scenes.oracle import holds
from vlp.data.scenes.statements import Statement
from vlp.data.scenes.world import Scene, SceneError


def outcomes(captions: Sequence[str], annotations: Sequence[str | None]) -> np.ndarray:
    """1 where the oracle calls the caption true, 0 where false or where it is no statement of the grammar.

    NaN where the annotation is not that of a scene: float64 [N].
    """
    return np.array([_outcome(text, annotation) for text, annotation in zip(captions, annotations, strict=True)])


def _outcome(text: str, annotation: str | None) -> float:
    try:
        scene = Scene.from_json(annotation or "")
    except SceneError:
        return float("nan")
    statement = parse(text)
    return float(statement is not None and holds(statement, scene))


def kind(text: str) -> str:
    """What a caption speaks of: the name of its statement's form, or ``unparsed``."""
    statement: Statement | None = parse(text)
    return "unparsed" if statement is None else type(statement).__name__.lower()
