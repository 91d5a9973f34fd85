"""What the two stages say of each pair, and the order that follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IMAGE_TO_TEXT, TEXT_TO_IMAGE = "image_to_text", "text_to_image"


@dataclass(frozen=True, slots=True)
class Scores:
    """Of Q queries and N candidates: the first stage's ``similarity`` float64 [Q, N], and ``matching`` [Q, N], what
    the second stage says of the pairs it looked at; NaN elsewhere. ``captions`` [images, captions]: the first stage
    with every caption of the descriptions by itself, where descriptions have several.
    """

    similarity: np.ndarray
    matching: np.ndarray
    captions: np.ndarray | None = None

    def ranked(self, weight: float, rerank: int) -> np.ndarray:
        """Scores float64 [Q, N] by which each query's candidates are in their final order.

        The query's ``rerank`` best by similarity come first, by similarity plus ``weight`` times matching; the others
        follow as the first stage left them.
        """
        best = _best(self.similarity, rerank)
        behind = self.similarity - self.similarity.max() - 1
        if not best.any():
            return behind
        both = self.similarity + weight * np.where(best, self.matching, 0.0)
        return np.where(best, both - both[best].min(), behind)


def directions(scores: Scores, right: np.ndarray) -> dict[str, tuple[Scores, np.ndarray]]:
    """Scores and right answers [images, texts], seen from the images and from the texts."""
    turned = Scores(scores.similarity.T, scores.matching.T)
    return {IMAGE_TO_TEXT: (scores, right), TEXT_TO_IMAGE: (turned, right.T)}


def shortlist(similarity: np.ndarray, rerank: int) -> np.ndarray:
    """Bool [images, texts]: the pairs that are among the best of the image or of the text."""
    return np.asarray(_best(similarity, rerank) | _best(similarity.T, rerank).T)


def _best(similarity: np.ndarray, count: int) -> np.ndarray:
    """Bool [Q, N]: the ``count`` best of each query.

    Of equal ones those that come first in an order by lot, the same for every query: queries mostly stand in the order
    of their answers, and the first of equals would be right for the first queries.
    """
    lot = np.random.default_rng(0).permutation(similarity.shape[1])
    chosen = np.zeros(similarity.shape, bool)
    order = lot[np.argsort(-similarity[:, lot], axis=1, kind="stable")[:, :count]]
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen
