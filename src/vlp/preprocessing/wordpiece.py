"""Learn a WordPiece vocabulary, the same one every time.

The trainer of the ``tokenizers`` library numbers its pieces in hash order and so breaks ties differently from
run to run: equal texts give different vocabularies. This one merges the most frequent pair of adjacent pieces,
equal counts in alphabetical order, and depends on nothing but the word counts.

Source: byte-pair merging over words, Sennrich et al. 2016, https://arxiv.org/abs/1508.07909, with BERT's ``##``
on pieces that continue a word.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise

PREFIX = "##"
Pair = tuple[str, str]


def train(counts: Mapping[str, int], size: int, min_frequency: int) -> list[str]:
    """The pieces in the order of learning: characters first, alphabetically, then merges.

    Args:
        counts: how often each word occurs.
        size: most pieces to learn.
        min_frequency: times that a merged pair must occur.

    Raises:
        ValueError: the characters alone are more than ``size``.
    """
    return _Merger(counts, size).run(size, min_frequency)


class _Merger:
    """Words as lists of pieces, with the count of every adjacent pair and the words it occurs in."""

    def __init__(self, counts: Mapping[str, int], size: int) -> None:
        ordered = sorted(counts)
        self.frequency = [counts[word] for word in ordered]
        self.words = [[word[0], *(PREFIX + char for char in word[1:])] for word in ordered]
        self.pieces = sorted({piece for word in self.words for piece in word})
        if len(self.pieces) > size:
            raise ValueError(f"too small for the {len(self.pieces)} characters of the texts")
        self.pairs: Counter[Pair] = Counter()
        self.places: defaultdict[Pair, set[int]] = defaultdict(set)
        for index in range(len(self.words)):
            self._count(index, set())

    def run(self, size: int, min_frequency: int) -> list[str]:
        # Entries go stale when a count changes; the true count is pushed again and the stale one passed over.
        heap = [(-count, pair) for pair, count in self.pairs.items()]
        heapq.heapify(heap)
        known = set(self.pieces)
        while heap and len(self.pieces) < size:
            negative, pair = heapq.heappop(heap)
            if -negative != self.pairs.get(pair, 0):
                continue
            if -negative < min_frequency:
                break
            merged = pair[0] + pair[1].removeprefix(PREFIX)
            if merged not in known:
                known.add(merged)
                self.pieces.append(merged)
            for changed in self._merge(pair, merged):
                if (count := self.pairs.get(changed, 0)) > 0:
                    heapq.heappush(heap, (-count, changed))
        return self.pieces

    def _merge(self, pair: Pair, merged: str) -> set[Pair]:
        """Join ``pair`` wherever it stands; returns the pairs whose counts changed."""
        changed: set[Pair] = set()
        for index in sorted(self.places.pop(pair)):
            self._uncount(index, changed)
            old, new, at = self.words[index], [], 0
            while at < len(old):
                if at + 1 < len(old) and (old[at], old[at + 1]) == pair:
                    new.append(merged)
                    at += 2
                else:
                    new.append(old[at])
                    at += 1
            self.words[index] = new
            self._count(index, changed)
        changed.discard(pair)
        return changed

    def _count(self, index: int, changed: set[Pair]) -> None:
        word = self.words[index]
        for pair in pairwise(word):
            self.pairs[pair] += self.frequency[index]
            self.places[pair].add(index)
            changed.add(pair)

    def _uncount(self, index: int, changed: set[Pair]) -> None:
        word = self.words[index]
        for pair in pairwise(word):
            self.pairs[pair] -= self.frequency[index]
            changed.add(pair)
            if pair in self.places:
                self.places[pair].discard(index)
