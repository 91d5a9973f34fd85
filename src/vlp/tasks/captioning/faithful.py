"""Is a caption true of its picture? On ``scenes`` an oracle knows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlp.data.scenes.grammar import parse
from vlp.data.scenes.oracle import holds
from vlp.data.scenes.statements import CompareNumber, Count, Exists, Is, Relation, Statement
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


def says_what_is_there(text: str) -> bool:
    """Whether a caption is a statement that a picture with nothing in it would make false.

    Those that deny (*there is no …*, *is not …*) or bound from above (*at most two …*, *zero …*) are not, nor are
    comparisons that two zeros meet (*as many … as …*).
    """
    match parse(text):
        case (
            None | Exists(_, True) | Is(_, _, True) | Relation(_, _, _, True) | Count("at most", _, _) | Count(_, 0, _)
        ):
            return False
        case CompareNumber(_, "as many", _):
            return False
        case _:
            return True


def kind(text: str) -> str:
    """What a caption speaks of: the name of its statement's form, or ``unparsed``."""
    statement: Statement | None = parse(text)
    return "unparsed" if statement is None else type(statement).__name__.lower()
