"""What is said of generated pictures: truth by parser and oracle, the matching head's opinion, a sheet of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp.data.loading import Examples, TokenIds
from vlp.data.scenes.oracle import truth
from vlp.data.slices import object_counts, word_counts
from vlp.evaluation.intervals import Bootstrap
from vlp.evaluation.slices import by_slice
from vlp.tasks.base import Evaluation
from vlp.tasks.generation.parser import parse

_SHEET = (6, 8)
"""Rows and columns of the sheet of samples."""
_WAYS = {"drawn": "", "first": "first_candidate_", "true": "true_picture_", "random": "random_picture_"}
"""What the figures of each kind of picture are called."""


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
    the ``true`` picture of the prompt's record and a ``random`` other record's, that of the prompt ``other``.
    """

    kept: np.ndarray
    first: np.ndarray
    real: dict[str, np.ndarray]
    other: list[int]


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


def others(count: int, seed: int) -> list[int]:
    """Another one for each of ``count`` prompts, by lot: in data that is sorted the next one is of the same kind."""
    circle = np.random.default_rng(seed).permutation(count)
    found = np.empty(count, np.int64)
    found[circle] = np.roll(circle, 1)
    return [int(place) for place in found]


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
        scores: probabilities [M] by the pre-trained matching head: ``drawn``, ``first``, ``true``, ``random``; empty
            where there is no such head: nothing is then said of it.
        decision: how the pictures were drawn.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """
    groups = [test.strings("group")[prompt.row] for prompt in asked]
    bootstrap = Bootstrap(groups, seed=seed, resamples=resamples)
    means = {f"{_WAYS[name]}matching_score": each for name, each in scores.items()}
    metrics: dict[str, Any] = {"images": len(asked), **decision}
    if scores:
        metrics["matching_score_by"] = "the matching head of pre-training, which chose among the candidates"
    annotations = test.strings("annotation")
    judged = [annotations[p.row] is not None and truth(annotations[p.row], p.text) is not None for p in asked]
    verdicts: dict[str, np.ndarray] = {}
    if all(judged):
        verdicts = {"drawn": _true(asked, pictures.kept), "first": _true(asked, pictures.first)}
        scenes = [parse(picture).to_json() for picture in pictures.real["true"]]
        verdicts["true"] = np.array([truth(scene, p.text) is True for scene, p in zip(scenes, asked, strict=True)])
        others = [annotations[asked[place].row] for place in pictures.other]
        verdicts["random"] = np.array([truth(scene, p.text) is True for scene, p in zip(others, asked, strict=True)])
        means |= {f"{_WAYS[name]}faithful_share": each for name, each in verdicts.items()}
        metrics["parser_accuracy"] = parser_accuracy(test, asked, scenes)
    metrics |= {name: float(each.mean()) for name, each in means.items()}
    metrics |= {f"{name}_ci95": list(bootstrap.ratio(each)) for name, each in means.items()}
    metrics |= _sliced(test, asked, verdicts.get("drawn"), scores.get("drawn"))
    rows = [
        {
            "record": test.strings("id")[prompt.row],
            "prompt": prompt.text,
            "kind": prompt.kind,
            **({"matching_score": float(scores["drawn"][number])} if scores else {}),
            **({"faithful": bool(verdicts["drawn"][number])} if verdicts else {}),
        }
        for number, prompt in enumerate(asked)
    ]
    return Evaluation(metrics=metrics, predictions=rows, pictures={"samples": sheet(pictures.kept)})


def _sliced(test: Examples, asked: list[Prompt], true: np.ndarray | None, score: np.ndarray | None) -> dict[str, Any]:
    """By kind and length of the prompt, and by how many things its record's own picture shows; by what judges best."""
    name, each = ("matching_score", score) if true is None else ("faithful_share", true)
    if each is None:
        return {}
    cuts = {
        "kind": [prompt.kind for prompt in asked],
        "words": word_counts([prompt.text for prompt in asked]),
        "objects": object_counts(test, [prompt.row for prompt in asked]),
    }
    return {f"{name}_by_{cut}": by_slice(names, lambda rows: float(each[rows].mean())) for cut, names in cuts.items()}


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
