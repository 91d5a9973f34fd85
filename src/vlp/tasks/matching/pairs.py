"""What matching is measured on: every caption of a split, and what each is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlp.data.loading import Examples, TokenIds
from vlp.tasks.matching.negatives import nearest_others, random_others


@dataclass(frozen=True, slots=True)
class Pairs:
    """M captions of a split, each with what it is held against.

    ``row`` int64 [M]: whose image; ``easy`` is what accuracy and the like are measured on, ``hard`` what
    ``hard_negative_accuracy`` is: the same minimal edit where the data has one. ``edited`` bool [M].
    """

    row: np.ndarray
    group: list[str]
    kind: list[str]
    text: list[str]
    true: list[TokenIds]
    easy: list[TokenIds]
    hard: list[TokenIds]
    edited: np.ndarray


def pairs(examples: Examples, seed: int) -> Pairs:
    """Every caption of the split with its negatives; captions that nothing can be held against are left out.

    Args:
        examples: the split.
        seed: of the captions that are drawn where the data has no edits.

    Raises:
        ValueError: that leaves none.
    """
    row, kind, text, true, edits = [], [], [], [], []
    for index in range(len(examples)):
        entries = examples.values("captions", index)
        kind += [str(entry["kind"]) for entry in entries]
        text += [str(entry["text"]) for entry in entries]
        row += [index] * len(entries)
        true += [ids for ids in examples.ids("captions", "ids", index) if ids is not None]
        edits += examples.ids("captions", "negative_ids", index)
    group = [examples.strings("group")[index] for index in row]
    if all(ids is not None for ids in edits):
        easy = hard = edits
    else:
        own = own_captions(true, row)
        easy = filled(edits, random_others(true, own, group, np.random.default_rng(seed)))
        hard = filled(edits, nearest_others(true, own, group))
    keep = [i for i in range(len(true)) if easy[i] is not None and hard[i] is not None]
    if not keep:
        raise _no_negatives(examples)
    return Pairs(
        row=np.array([row[i] for i in keep]),
        group=[group[i] for i in keep],
        kind=[kind[i] for i in keep],
        text=[text[i] for i in keep],
        true=[true[i] for i in keep],
        easy=[ids for i in keep if (ids := easy[i]) is not None],
        hard=[ids for i in keep if (ids := hard[i]) is not None],
        edited=np.array([edits[i] is not None for i in keep]),
    )


def require_negatives(examples: Examples) -> None:
    """Look, before anything is trained, whether ``pairs`` could find any.

    Raises:
        ValueError: no caption of the split has an edit, and all are of one group.
    """
    groups = set()
    for index in np.flatnonzero(examples.lengths("captions")).tolist():
        if any(ids is not None for ids in examples.ids("captions", "negative_ids", index)):
            return
        groups.add(examples.strings("group")[index])
    if len(groups) < 2:
        raise _no_negatives(examples)


def _no_negatives(examples: Examples) -> ValueError:
    return ValueError(
        f"{examples.folder}: split {examples.split!r} has no caption with a negative: the matching task needs "
        "captions of at least two groups"
    )


def own_captions(true: Sequence[TokenIds], owner: Sequence[int]) -> list[frozenset[bytes]]:
    """For each of the captions of some images the bytes of all captions of its own, whose number ``owner`` is."""
    found: dict[int, set[bytes]] = {}
    for ids, image in zip(true, owner, strict=True):
        found.setdefault(image, set()).add(ids.tobytes())
    each = {image: frozenset(keys) for image, keys in found.items()}
    return [each[image] for image in owner]


def filled(edits: Sequence[TokenIds | None], others: Sequence[TokenIds | None]) -> list[TokenIds | None]:
    """The edits, and where there is none the other of the same place."""
    return [other if edit is None else edit for edit, other in zip(edits, others, strict=True)]
