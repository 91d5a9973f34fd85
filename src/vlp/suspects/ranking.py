"""The pairs of a prepared data set, the least likely first; and how well that order finds pairs made wrong."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vlp.data.loading import Examples, Prepared, TokenIds
from vlp.data.scenes import oracle
from vlp.data.validated import CAPTION
from vlp.evaluation.binary import Ranking
from vlp.evaluation.intervals import Bootstrap
from vlp.files import lines
from vlp.suspects.scoring import Score

Level = Literal["record", "caption"]


@dataclass(frozen=True, slots=True)
class Suspect:
    """One pair and its score: an image with one of its captions, or with all of them."""

    record: str
    field: str
    """``captions[i]``, as the record was collected, or ``record``."""
    split: str
    row: int
    """Of the split's shards."""
    caption: str
    """Of all captions of a record, the least likely one."""
    score: float
    """Logit of the matching head, of all captions of a record its mean: below 0, more likely false than true."""

    def as_row(self) -> dict[str, Any]:
        """As a line of a file."""
        names = ("record", "field", "split", "caption", "score")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Pairs:
    """The M captions of one split."""

    rows: np.ndarray
    """int64 [M], rising: whose image."""
    ids: list[TokenIds]
    texts: list[str]
    places: list[int]
    """Of each among the captions that are left of its record."""


def pairs_of(examples: Examples) -> Pairs:
    """Every caption of a split."""
    rows, ids, texts, places = [], list[TokenIds](), [], []
    for row in range(len(examples)):
        entries = examples.values("captions", row)
        for place, (entry, tokens) in enumerate(zip(entries, examples.ids("captions", "ids", row), strict=True)):
            assert tokens is not None
            rows.append(row)
            ids.append(tokens)
            texts.append(str(entry["text"]))
            places.append(place)
    return Pairs(np.array(rows, np.int64), ids, texts, places)


def rank(prepared: Prepared, splits: Sequence[str], score: Score, worst: int, by: Level = "record") -> list[Suspect]:
    """The ``worst`` pairs of those splits, the least likely first.

    Args:
        prepared: the data.
        splits: names of its splits.
        score: judges captions.
        worst: how many.
        by: ``record``: an image with all of its captions is one pair, which what they say together tells far more
            surely; ``caption``: each caption is one.
    """
    dropped = _dropped(prepared.folder)
    found: list[Suspect] = []
    for split in splits:
        examples = prepared.split(split)
        pairs, names = pairs_of(examples), examples.strings("id")
        scores = score(examples, pairs.rows, pairs.ids)
        for at, value in _least(pairs, scores, worst, by):
            record = names[int(pairs.rows[at])]
            place = _collected(pairs.places[at], dropped.get(record, frozenset()))
            field = "record" if by == "record" else f"captions[{place}]"
            found.append(Suspect(record, field, split, int(pairs.rows[at]), pairs.texts[at], value))
    return sorted(found, key=lambda each: (each.score, each.record, each.field))[:worst]


def _least(pairs: Pairs, scores: np.ndarray, worst: int, by: Level) -> Iterator[tuple[int, float]]:
    """Places of captions, one a pair, and the pairs' scores, the least first."""
    if by == "caption":
        yield from ((at, float(scores[at])) for at in np.argsort(scores, kind="stable")[:worst].tolist())
        return
    rows, means = by_record(pairs.rows, scores)
    for which in np.argsort(means, kind="stable")[:worst].tolist():
        first, last = np.searchsorted(pairs.rows, [rows[which], rows[which] + 1])
        yield int(first + np.argmin(scores[first:last])), float(means[which])


def by_record(rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that have any caption, and the mean of the ``values`` of each one's captions."""
    names, first = np.unique(rows, return_index=True)
    return names, np.add.reduceat(values, first) / np.diff([*first, len(values)])


def _dropped(folder: Path) -> dict[str, frozenset[int]]:
    """Captions that preparation left out, by record."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for _, line in lines(folder / "rejects.jsonl"):
        row = json.loads(line)
        if row["action"] == "dropped" and (place := CAPTION.fullmatch(row["field"])):
            found[row["record"]].add(int(place[1]))
    return {record: frozenset(places) for record, places in found.items()}


def _collected(place: int, dropped: frozenset[int]) -> int:
    """The index among all captions of a record of the one that is number ``place`` of those left."""
    index = -1
    for _ in range(place + 1):
        index += 1
        while index in dropped:
            index += 1
    return index


def probe(
    examples: Examples, score: Score, share: float, seed: int, by: Level = "record", resamples: int = 1000
) -> dict[str, Any]:
    """How well the order finds mismatched pairs: some are made of two, and all are ranked.

    Args:
        examples: a split.
        score: judges captions.
        share: of the pairs that get another record's captions. Where the source can tell (scenes), a caption is only
            exchanged for one that is false of the image.
        seed: chooses them.
        by: as of ``rank``.
        resamples: of the bootstrap over groups.

    Returns:
        ``average_precision`` of finding them and its interval, ``base_rate`` (what chance would reach),
        ``precision_at_injected`` (of as many worst pairs as were made wrong), ``pairs`` and ``injected``.

    Raises:
        ValueError: no caption could be exchanged.
    """
    pairs = pairs_of(examples)
    ids, wrong = exchanged(examples, pairs, share, seed, by)
    if not wrong.any():
        raise ValueError(f"{examples.folder}: split {examples.split!r}: no caption can be exchanged for another's")
    suspicion, rows = -score(examples, pairs.rows, ids), pairs.rows
    if by == "record":
        suspicion, wrong = by_record(rows, suspicion)[1], by_record(rows, wrong.astype(float))[1] > 0
        rows = np.unique(rows)
    groups = [examples.strings("group")[row] for row in rows.tolist()]
    ranking = Ranking(wrong.astype(np.int64), suspicion)
    first = np.argsort(-suspicion, kind="stable")[: int(wrong.sum())]
    return {
        "split": examples.split,
        "by": by,
        "pairs": len(wrong),
        "injected": int(wrong.sum()),
        "base_rate": float(wrong.mean()),
        "average_precision": float(ranking.average_precision(np.ones((1, len(wrong))))[0]),
        "average_precision_ci95": list(
            Bootstrap(groups, seed=seed, resamples=resamples).weighted(ranking.average_precision)
        ),
        "precision_at_injected": float(wrong[first].mean()),
    }


def exchanged(
    examples: Examples, pairs: Pairs, share: float, seed: int, by: Level
) -> tuple[list[TokenIds], np.ndarray]:
    """The token ids of all captions after the exchange, and which were exchanged, bool [M].

    By record, all captions of a chosen one come from one other: as where a picture was filed under another's name.
    """
    rng = np.random.default_rng(seed)
    ids, wrong = list(pairs.ids), np.zeros(len(pairs.ids), bool)
    if by == "caption":
        parts = [np.array([at]) for at in range(len(ids))]
    else:
        parts = np.split(np.arange(len(ids)), np.unique(pairs.rows, return_index=True)[1][1:])
    groups = examples.strings("group")
    for chosen in rng.permutation(len(parts))[: max(1, round(share * len(parts)))].tolist():
        mine = parts[chosen]
        row = int(pairs.rows[mine[0]])
        for other in _others(rng, len(parts)):
            theirs = parts[other]
            if groups[row] == groups[int(pairs.rows[theirs[0]])]:
                continue
            # Another record may say fewer or more: what is left over says it again, or is left out.
            taken = theirs[np.arange(len(mine)) % len(theirs)]
            false = [
                _false(examples, row, pairs.texts[at], pairs.texts[was]) for at, was in zip(taken, mine, strict=True)
            ]
            if sum(false) > len(mine) / 2:  # some of what is said of one scene is true of many
                for at, was in zip(taken, mine, strict=True):
                    ids[was] = pairs.ids[at]
                wrong[mine] = True
                break
    return ids, wrong


def _others(rng: np.random.Generator, count: int) -> Iterator[int]:
    """Some places at random: one that will do is nearly always among the first few."""
    yield from rng.integers(count, size=64).tolist()


def _false(examples: Examples, row: int, text: str, own: str) -> bool:
    """Whether another record's ``text`` is false of the image in ``row``, as far as can be told."""
    scene = examples.strings("annotation")[row]
    if scene and '"scenes"' in scene:
        return oracle.truth(scene, text) is False
    return text != own
