"""Negatives for data that has no minimal edits: captions of other groups that are none of the image's own."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from scipy.sparse import csr_matrix

_BLOCK = 1024  # captions compared at once: bounds memory, not the result


def random_others(
    texts: list[np.ndarray], own: Sequence[AbstractSet[bytes]], groups: list[str], rng: np.random.Generator
) -> list[np.ndarray | None]:
    """For each text one of another group, at random; None where every other text is true of its image or its group's.

    Args:
        texts: token ids of each.
        own: for each text the bytes of all captions of its image, drawn or not: another image may share any of them.
        groups: of each.
        rng: draws.
    """
    keys = [text.tobytes() for text in texts]
    order = rng.permutation(len(texts))
    place = np.argsort(order)
    found: list[np.ndarray | None] = []
    for index in range(len(texts)):
        # Walk a random order from this text's own place in it: the first of another group that its image has not.
        walk = (order[(place[index] + step) % len(order)] for step in range(1, len(order)))
        other = next((o for o in walk if groups[o] != groups[index] and keys[o] not in own[index]), None)
        found.append(None if other is None else texts[other])
    return found


def nearest_others(
    texts: list[np.ndarray], own: Sequence[AbstractSet[bytes]], groups: list[str]
) -> list[np.ndarray | None]:
    """For each text the one of another group with the largest share of tokens in common (Jaccard).

    Args:
        texts: token ids of each.
        own: as of ``random_others``.
        groups: of each.
    """
    if not texts:
        return []
    rows = np.repeat(np.arange(len(texts)), [len(set(text.tolist())) for text in texts])
    columns = np.concatenate([sorted(set(text.tolist())) for text in texts])
    has = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)))
    sizes = np.asarray(has.sum(1)).ravel()
    _, group = np.unique(groups, return_inverse=True)
    number: dict[bytes, int] = {}
    key = np.array([number.setdefault(text.tobytes(), len(number)) for text in texts])
    known = [[number[each] for each in mine if each in number] for mine in own]
    found: list[np.ndarray | None] = []
    for start in range(0, len(texts), _BLOCK):
        block = slice(start, start + _BLOCK)
        common = (has[block] @ has.T).toarray()
        jaccard = common / (sizes[block, None] + sizes[None, :] - common)
        jaccard[group[block, None] == group[None, :]] = -1
        for row, mine in enumerate(known[block]):
            jaccard[row, np.isin(key, mine)] = -1
        best = jaccard.argmax(1)
        found.extend(texts[other] if jaccard[row, other] >= 0 else None for row, other in enumerate(best.tolist()))
    return found
