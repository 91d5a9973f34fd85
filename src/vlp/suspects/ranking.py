"""The pairs of a prepared data set, the least likely first; and how well that order finds pairs made wrong."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlp.data.loading import Examples, Prepared, TokenIds
from vlp.data.scenes import oracle
from vlp.data.validated import CAPTION
from vlp.evaluation.binary import Ranking
from vlp.evaluation.intervals import Bootstrap
from vlp.suspects.scoring import Score


@dataclass(frozen=True, slots=True)
class Suspect:
    """One pair and its score."""

    record: str
    field: str
    """``captions[i]``, as the record was collected."""
    split: str
    row: int
    """Of the split's shards."""
    caption: str
    score: float
    """Logit of the matching head: below 0, more likely false than true."""

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


def rank(prepared: Prepared, splits: Sequence[str], score: Score, worst: int) -> list[Suspect]:
    """The ``worst`` pairs of those splits, the least likely first.

    Args:
        prepared: the data.
        splits: names of its splits.
        score: judges pairs.
        worst: how many.
    """
    dropped = _dropped(prepared.folder)
    found: list[Suspect] = []
    for split in splits:
        examples = prepared.split(split)
        pairs, names = pairs_of(examples), examples.strings("id")
        scores = score(examples, pairs.rows, pairs.ids)
        for at in np.argsort(scores, kind="stable")[:worst].tolist():
            record = names[int(pairs.rows[at])]
            field = f"captions[{_collected(pairs.places[at], dropped.get(record, frozenset()))}]"
            found.append(Suspect(record, field, split, int(pairs.rows[at]), pairs.texts[at], float(scores[at])))
    return sorted(found, key=lambda each: (each.score, each.record, each.field))[:worst]


def _dropped(folder: Path) -> dict[str, frozenset[int]]:
    """Captions that preparation left out, by record."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for line in (folder / "rejects.jsonl").read_text(encoding="utf-8").splitlines():
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


def probe(examples: Examples, score: Score, share: float, seed: int, resamples: int = 1000) -> dict[str, Any]:
    """How well the order finds mismatched pairs: some captions are exchanged for others' and all are ranked.

    Args:
        examples: a split.
        score: judges pairs.
        share: of the captions that get another record's. Where the source can tell (scenes), only one that is false.
        seed: chooses them.
        resamples: of the bootstrap over groups.

    Returns:
        ``average_precision`` of finding them and its interval, ``base_rate`` (what chance would reach),
        ``precision_at_injected`` (of as many worst pairs as were made wrong), ``pairs`` and ``injected``.

    Raises:
        ValueError: no caption could be exchanged.
    """
    pairs = pairs_of(examples)
    wrong, ids = _exchanged(examples, pairs, share, seed)
    if not wrong.any():
        raise ValueError(f"{examples.folder}: split {examples.split!r}: no caption can be exchanged for another's")
    suspicion = -score(examples, pairs.rows, ids)
    groups = [examples.strings("group")[row] for row in pairs.rows.tolist()]
    ranking = Ranking(wrong.astype(np.int64), suspicion)
    first = np.argsort(-suspicion, kind="stable")[: int(wrong.sum())]
    return {
        "split": examples.split,
        "pairs": len(wrong),
        "injected": int(wrong.sum()),
        "base_rate": float(wrong.mean()),
        "average_precision": float(ranking.average_precision(np.ones((1, len(wrong))))[0]),
        "average_precision_ci95": list(
            Bootstrap(groups, seed=seed, resamples=resamples).weighted(ranking.average_precision)
        ),
        "precision_at_injected": float(wrong[first].mean()),
    }


def _exchanged(examples: Examples, pairs: Pairs, share: float, seed: int) -> tuple[np.ndarray, list[TokenIds]]:
    """Which captions were exchanged, bool [M], and the token ids of all as they now are."""
    rng = np.random.default_rng(seed)
    count, ids, wrong = len(pairs.ids), list(pairs.ids), np.zeros(len(pairs.ids), bool)
    groups = examples.strings("group")
    for at in rng.permutation(count)[: max(1, round(share * count))].tolist():
        for other in _others(rng, count):
            mine, theirs = int(pairs.rows[at]), int(pairs.rows[other])
            if groups[mine] != groups[theirs] and _false(examples, mine, pairs.texts[other], pairs, at):
                ids[at], wrong[at] = pairs.ids[other], True
                break
    return wrong, ids


def _others(rng: np.random.Generator, count: int) -> Iterator[int]:
    """Some places at random: one that will do is nearly always among the first few."""
    yield from rng.integers(count, size=64).tolist()


def _false(examples: Examples, row: int, text: str, pairs: Pairs, at: int) -> bool:
    """Whether another record's ``text`` is false of the image in ``row``, as far as can be told."""
    scene = examples.strings("annotation")[row]
    if scene and '"scenes"' in scene:
        return oracle.truth(scene, text) is False
    return text != pairs.texts[at]
