"""What is reported of retrieval: both ways, beside the first stage alone, single captions, chance and the oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vlp.data.loading import Examples
from vlp.data.slices import object_counts
from vlp.evaluation import ranking
from vlp.evaluation.intervals import Bootstrap
from vlp.evaluation.slices import by_slice
from vlp.preprocessing.text import words
from vlp.tasks.base import Evaluation
from vlp.tasks.retrieval import by_colour
from vlp.tasks.retrieval.candidates import Candidates, cut, gather
from vlp.tasks.retrieval.judged import judged_recall
from vlp.tasks.retrieval.scores import IMAGE_TO_TEXT, TEXT_TO_IMAGE, Scores, directions

if TYPE_CHECKING:
    from vlp.tasks.retrieval.task import Task

MOST_ON_CURVE = 50


def evaluation(task: Task, test: Examples, seed: int, resamples: int) -> Evaluation:
    """Recall both ways with 95 % intervals by group, the first stage alone, chance, and what the oracle says."""
    found = gather(test, task.params.candidates, task.params.captions_per_query)
    scores = task.score(test, found)
    groups = np.array([test.strings("group")[row] for row in found.rows])
    metrics: dict[str, Any] = {"candidates": len(found.rows), "texts": len(found.texts)}
    metrics |= {"captions_per_query": task.params.captions_per_query, "rerank": task.params.rerank}
    placed: dict[str, np.ndarray] = {}
    for direction, (own, right) in directions(scores, found.right).items():
        of = groups if direction == IMAGE_TO_TEXT else groups[found.owner]
        bootstrap = Bootstrap(of, seed=seed, resamples=resamples)
        order = own.ranked(task.decision[direction], task.params.rerank)
        placed[direction] = ranking.ranks(order, right)
        metrics |= ranking.recalls(placed[direction], direction, bootstrap)
        metrics[f"{direction}_median_rank"] = float(np.median(placed[direction]))
        metrics |= ranking.recalls(ranking.ranks(own.similarity, right), f"first_stage_{direction}", bootstrap)
        metrics |= {f"random_{direction}_r{cut}": ranking.random_recall(right, cut) for cut in ranking.CUTS}
        metrics |= judged_recall(test, found, order, direction, bootstrap)
        metrics |= _sliced(test, found, placed[direction], direction)
    metrics["median_rank"] = float(np.median(np.concatenate(list(placed.values()))))
    metrics |= {f"weight_{direction}": task.decision[direction] for direction in placed}
    metrics |= _by_colour(task, test, found, seed, resamples)
    metrics |= _single_captions(test, found, scores.captions, seed=seed, resamples=resamples)
    longest = min(MOST_ON_CURVE, len(found.rows))
    return Evaluation(
        metrics=metrics,
        plots={f"{name}_recall": ranking.recall_curve(ranks, longest) for name, ranks in placed.items()},
        predictions=_predictions(test, found, placed),
    )


def _by_colour(task: Task, test: Examples, found: Candidates, seed: int, resamples: int) -> dict[str, Any]:
    """Recall of what knows colours and words, and no model."""
    prepared = task.prepared
    alike = by_colour.similarity(prepared.split("train"), test, found, prepared.vocabulary_size)
    groups = np.array([test.strings("group")[row] for row in found.rows])
    metrics: dict[str, Any] = {}
    for direction, (own, right) in directions(Scores(alike, alike), found.right).items():
        of = groups if direction == IMAGE_TO_TEXT else groups[found.owner]
        bootstrap = Bootstrap(of, seed=seed, resamples=resamples)
        placed = ranking.ranks(own.similarity, right)
        metrics |= ranking.recalls(placed, f"nearest_by_colour_{direction}", bootstrap)
    return metrics


def _sliced(test: Examples, found: Candidates, placed: np.ndarray, direction: str) -> dict[str, Any]:
    """Recall@1 by how many things the query's picture shows, and by how many words its description has."""
    first = placed <= 1
    cuts = {"objects": object_counts(test, found.rows if direction == IMAGE_TO_TEXT else found.rows[found.owner])}
    if direction == TEXT_TO_IMAGE:
        texts = [
            " ".join(str(test.values("captions", row)[place]["text"]) for place in places)
            for row, places in zip(found.rows[found.owner].tolist(), found.places, strict=True)
        ]
        cuts["words"] = [f"{words(text) // 10 * 10:02d} and more" for text in texts]
    return {
        f"{direction}_r1_by_{name}": by_slice(names, lambda rows: float(first[rows].mean()))
        for name, names in cuts.items()
    }


def _single_captions(
    test: Examples, found: Candidates, similarity: np.ndarray | None, *, seed: int, resamples: int
) -> dict[str, Any]:
    """The first stage with every caption a query of its own, where descriptions have several: what they buy."""
    if similarity is None:
        return {}
    single = cut(test, found.rows, 1)
    metrics: dict[str, Any] = {"single_caption_texts": len(single.texts)}
    groups = np.array([test.strings("group")[row] for row in single.rows])
    for direction, (own, right) in directions(Scores(similarity, similarity), single.right).items():
        of = groups if direction == IMAGE_TO_TEXT else groups[single.owner]
        bootstrap = Bootstrap(of, seed=seed, resamples=resamples)
        metrics |= ranking.recalls(ranking.ranks(own.similarity, right), f"single_caption_{direction}", bootstrap)
    return metrics


def _predictions(test: Examples, found: Candidates, placed: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    ids, owner = test.strings("id"), found.owner.tolist()
    rows: list[dict[str, Any]] = [
        {"record": ids[row], "query": "image", "rank": rank}
        for row, rank in zip(found.rows.tolist(), placed[IMAGE_TO_TEXT].tolist(), strict=True)
    ]
    ranked = zip(owner, found.places, placed[TEXT_TO_IMAGE].tolist(), strict=True)
    return rows + [
        {"record": ids[found.rows[image]], "query": "text", "captions": places, "rank": rank}
        for image, places, rank in ranked
    ]
