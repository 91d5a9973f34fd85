"""What is said of generated pictures: truth by parser and oracle, the matching head's opinion, a sheet of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp.data.loading import Examples, TokenIds
from vlp.data.scenes.oracle import truth
from vlp.evaluation.intervals import Bootstrap
from vlp.evaluation.slices import by_slice
from vlp.tasks.base import Evaluation
from vlp.tasks.generation.parser import parse

_SHEET = (6, 8)
"""Rows and columns of the sheet of samples."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One caption of one record."""

    row: int
    text: str
    kind: str
    ids: TokenIds


@dataclass(frozen=True, slots=True)
class Pictures:
    """Of M prompts, uint8 [M, S, S, 3] each: the ``kept`` candidate, the ``first`` one, and ``real`` ones by name:
    the ``true`` picture of the prompt's record and a ``random`` other record's.
    """

    kept: np.ndarray
    first: np.ndarray
    real: dict[str, np.ndarray]


def prompts(examples: Examples, count: int) -> list[Prompt]:
    """One caption of each of ``count`` records, evenly spread over the split; the captions of a record in turn.

    Raises:
        ValueError: no record has a caption.
    """
    known = np.flatnonzero(examples.lengths("captions"))
    if not len(known):
        raise ValueError(f"{examples.folder}: no record of the split {examples.split!r} has an entry in `captions`")
    chosen = np.unique(np.linspace(0, len(known) - 1, min(count, len(known))).astype(np.int64))
    found = []
    for number, row in enumerate(known[chosen].tolist()):
        captions, ids = examples.values("captions", row), examples.ids("captions", "ids", row)
        place = number % len(captions)
        text = ids[place]
        assert text is not None
        found.append(Prompt(row, str(captions[place]["text"]), str(captions[place]["kind"] or ""), text))
    return found


def evaluation(
    test: Examples,
    asked: list[Prompt],
    pictures: Pictures,
    scores: dict[str, np.ndarray],
    decision: dict[str, Any],
    *,
    seed: int,
    resamples: int,
) -> Evaluation:
    """Metrics, rows and the sheet.

    Args:
        test: the split of the prompts.
        asked: M prompts.
        pictures: drawn and real.
        scores: probabilities [M] by the pre-trained matching head: ``drawn``, ``first``, ``true``, ``random``.
        decision: how the pictures were drawn.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """
    groups = [test.strings("group")[prompt.row] for prompt in asked]
    bootstrap = Bootstrap(groups, seed=seed, resamples=resamples)
    metrics: dict[str, Any] = {
        "matching_score": float(scores["drawn"].mean()),
        "matching_score_ci95": list(bootstrap.ratio(scores["drawn"])),
        "matching_score_by": "the matching head of pre-training, which chose among the candidates",
        "first_candidate_matching_score": float(scores["first"].mean()),
        "true_picture_matching_score": float(scores["true"].mean()),
        "random_picture_matching_score": float(scores["random"].mean()),
        "images": len(asked),
        **decision,
    }
    annotations = test.strings("annotation")
    judged = [annotations[p.row] is not None and truth(annotations[p.row], p.text) is not None for p in asked]
    verdicts: dict[str, np.ndarray] = {}
    if all(judged):
        verdicts = {"drawn": _true(asked, pictures.kept), "first": _true(asked, pictures.first)}
        scenes = [parse(picture).to_json() for picture in pictures.real["true"]]
        verdicts["true"] = np.array([truth(scene, p.text) is True for scene, p in zip(scenes, asked, strict=True)])
        others = [annotations[p.row] for p in (*asked[1:], asked[0])]
        verdicts["random"] = np.array([truth(scene, p.text) is True for scene, p in zip(others, asked, strict=True)])
        metrics |= {
            "faithful_share": float(verdicts["drawn"].mean()),
            "faithful_share_ci95": list(bootstrap.ratio(verdicts["drawn"])),
            "faithful_share_by_kind": by_slice(
                [p.kind for p in asked], lambda rows: float(verdicts["drawn"][rows].mean())
            ),
            "first_candidate_faithful_share": float(verdicts["first"].mean()),
            "true_picture_faithful_share": float(verdicts["true"].mean()),
            "random_picture_faithful_share": float(verdicts["random"].mean()),
            "parser_accuracy": parser_accuracy(test, asked, scenes),
        }
    rows = [
        {
            "record": test.strings("id")[prompt.row],
            "prompt": prompt.text,
            "kind": prompt.kind,
            "matching_score": float(scores["drawn"][number]),
            **({"faithful": bool(verdicts["drawn"][number])} if verdicts else {}),
        }
        for number, prompt in enumerate(asked)
    ]
    return Evaluation(metrics=metrics, predictions=rows, pictures={"samples": sheet(pictures.kept)})


def _true(asked: list[Prompt], pictures: np.ndarray) -> np.ndarray:
    """Whether each prompt is true of what the parser sees in its picture, bool [M]."""
    found = [truth(parse(picture).to_json(), prompt.text) for picture, prompt in zip(pictures, asked, strict=True)]
    return np.array([verdict is True for verdict in found])


def parser_accuracy(test: Examples, asked: list[Prompt], scenes: list[str]) -> float:
    """How often the oracle says the same of the parser's scene as of the true one.

    Args:
        test: the split.
        asked: prompts, whose records' captions and edits are judged, true and false ones alike.
        scenes: what the parser saw in the real picture of each prompt's record.
    """
    annotations = test.strings("annotation")
    agree = [
        truth(scene, str(text)) == truth(annotations[prompt.row], str(text))
        for prompt, scene in zip(asked, scenes, strict=True)
        for caption in test.values("captions", prompt.row)
        for text in (caption["text"], caption["negative"])
        if text is not None
    ]
    return float(np.mean(agree))


def sheet(pictures: np.ndarray) -> np.ndarray:
    """The first pictures in rows, in the order of the predictions: uint8 [H, W, 3], a line of white between them."""
    rows, columns = _SHEET
    size = pictures.shape[1] + 2
    canvas = np.full((rows * size, columns * size, 3), 255, np.uint8)
    for number, picture in enumerate(pictures[: rows * columns]):
        row, column = divmod(number, columns)
        canvas[row * size + 1 : (row + 1) * size - 1, column * size + 1 : (column + 1) * size - 1] = picture
    return canvas[: -(-min(len(pictures), rows * columns) // columns) * size]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits.astype(np.float64)))
