"""What is searched: the images of a split, and the texts about them.

A text is a *description*: up to ``captions_per_query`` captions of one image, taken together as in paragraph
retrieval. A single caption of ``scenes`` ("there is a ring") is true of many pictures, six of them hardly ever.
With one caption a description it is the protocol of Flickr30k and COCO.

Right is what belongs together in the data: a description is right for every image of which all its captions are, word
for word, captions too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlp.data.loading import Examples, TokenIds

Key = frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Candidates:
    """N images and T descriptions of them.

    ``rows`` int64 [N]: the images' rows in the split. ``texts``: the captions of each description, as token ids.
    ``places``: which captions of their image these are. ``owner`` int64 [T]: the image, 0 … N − 1, that each was
    written for. ``right`` bool [N, T].
    """

    rows: np.ndarray
    texts: list[list[TokenIds]]
    places: list[list[int]]
    owner: np.ndarray
    right: np.ndarray


def gather(examples: Examples, wanted: int, captions_per_query: int) -> Candidates:
    """At most ``wanted`` images, evenly spread over the split, no two with the same captions, and their descriptions.

    Raises:
        ValueError: fewer than two images have captions.
    """
    known: dict[Key, int] = {}
    for row in range(len(examples)):
        if key := _key(captions(examples, row)):
            known.setdefault(key, row)
    if len(known) < 2:
        raise _too_few(examples, len(known))
    distinct = sorted(known.values())
    rows = [distinct[place] for place in sorted({round(x) for x in np.linspace(0, len(distinct) - 1, wanted)})]
    return cut(examples, np.array(rows), captions_per_query)


def require_several(examples: Examples) -> None:
    """Look, before anything is trained, whether ``gather`` could find anything to search.

    Raises:
        ValueError: fewer than two images have captions of their own.
    """
    first: Key = frozenset()
    for row in np.flatnonzero(examples.lengths("captions")).tolist():
        key = _key(captions(examples, row))
        if first and key and key != first:
            return
        first = first or key
    raise _too_few(examples, int(bool(first)))


def _too_few(examples: Examples, count: int) -> ValueError:
    return ValueError(
        f"{examples.folder}: split {examples.split!r} has {count} images with captions of their own; the retrieval "
        "task needs two or more: give the split more records, or take retrieval out of `tasks`"
    )


def cut(examples: Examples, rows: np.ndarray, captions_per_query: int) -> Candidates:
    """Those rows' images, and the descriptions that their captions make, image by image and in their order."""
    texts: list[list[TokenIds]] = []
    places: list[list[int]] = []
    owner: list[int] = []
    for place, row in enumerate(rows.tolist()):
        mine = captions(examples, row)
        for chosen in _cut(len(mine), captions_per_query):
            texts.append([mine[each] for each in chosen])
            places.append(chosen)
            owner.append(place)
    return Candidates(rows, texts, places, np.array(owner), _right(examples, rows.tolist(), texts))


def captions(examples: Examples, row: int) -> list[TokenIds]:
    """The captions of one row."""
    return [ids for ids in examples.ids("captions", "ids", row) if ids is not None]


def _right(examples: Examples, rows: list[int], texts: list[list[TokenIds]]) -> np.ndarray:
    of_image = [_key(captions(examples, row)) for row in rows]
    of_text = [_key(text) for text in texts]
    return np.array([[text <= image for text in of_text] for image in of_image])


def _key(texts: list[TokenIds]) -> Key:
    return frozenset(ids.tobytes() for ids in texts)


def _cut(count: int, each: int) -> Iterator[list[int]]:
    for start in range(0, count, each):
        yield list(range(start, min(start + each, count)))
