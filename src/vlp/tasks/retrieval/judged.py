"""What the oracle says of the first answer: a text can be true of a picture that it was not written for."""

from __future__ import annotations

import numpy as np

from vlp.data.loading import Examples
from vlp.data.scenes.oracle import truth
from vlp.evaluation.intervals import Bootstrap
from vlp.tasks.retrieval.candidates import Candidates
from vlp.tasks.retrieval.scores import IMAGE_TO_TEXT


def judged_recall(
    examples: Examples, found: Candidates, order: np.ndarray, direction: str, bootstrap: Bootstrap
) -> dict[str, float | list[float]]:
    """``judged_<direction>_r1``: the share of queries whose first answer is true, each caption of it; its interval.

    Nothing where the data has no annotation that the oracle can read.

    Args:
        examples: the split.
        found: what was searched.
        order: float64 [Q, N], larger is better.
        direction: ``image_to_text`` or ``text_to_image``.
        bootstrap: of the Q queries.
    """
    answers = order.argmax(1).tolist()
    queries = range(len(answers))
    pairs = zip(queries, answers, strict=True) if direction == IMAGE_TO_TEXT else zip(answers, queries, strict=True)
    annotations = examples.strings("annotation")
    verdicts = [_true(examples, found, text, annotations[found.rows[image]]) for image, text in pairs]
    known = np.array([verdict is not None for verdict in verdicts], np.float64)
    true = np.array([verdict is True for verdict in verdicts], np.float64)
    if not known.any():
        return {}
    name = f"judged_{direction}_r1"
    return {name: float(true.sum() / known.sum()), f"{name}_ci95": list(bootstrap.ratio(true, known))}


def _true(examples: Examples, found: Candidates, text: int, annotation: str | None) -> bool | None:
    """Whether every caption of a description is true; None where one of them cannot be judged."""
    captions = examples.values("captions", int(found.rows[found.owner[text]]))
    verdicts = [truth(annotation or "", str(captions[place]["text"])) for place in found.places[text]]
    return None if None in verdicts else all(verdicts)
