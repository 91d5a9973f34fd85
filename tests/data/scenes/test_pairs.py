"""The samplers of statement pairs, and above all: that texts alone do not give the truth away."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from vlp.data.scenes.grammar import write
from vlp.data.scenes.oracle import holds
from vlp.data.scenes.pairs import SAMPLERS, Pair
from vlp.data.scenes.statements import CompareSize, Count, Noun, Statement
from vlp.data.scenes.world import Scene, sample, stream

KINDS = tuple(SAMPLERS)


@cache
def scenes() -> list[Scene]:
    return [sample(stream(21, index, "scene")) for index in range(6000)]


@cache
def pairs(kind: str) -> list[Pair]:
    drawn = (SAMPLERS[kind](stream(21, index, kind), scene) for index, scene in enumerate(scenes()))
    return [pair for pair in drawn if pair is not None]


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_statement_is_true_and_its_edit_is_false(kind: str) -> None:
    for index, scene in enumerate(scenes()[:800]):
        pair = SAMPLERS[kind](stream(21, index, kind), scene)
        assert pair is None or (holds(pair[0], scene), holds(pair[1], scene)) == (True, False), pair


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_changes_a_word_or_a_phrase_or_swaps_two(kind: str) -> None:
    for true, false in pairs(kind)[:800]:
        one, two = write(true).split(), write(false).split()
        lost, gained = Counter(one) - Counter(two), Counter(two) - Counter(one)
        # "is one circle" → "are two circles" is the most; words that only swap places are neither lost nor gained.
        assert max(lost.total(), gained.total()) <= 3, (true, false)


def test_sizes_are_compared_without_naming_them() -> None:
    for true, _ in pairs("comparison"):
        if isinstance(true, CompareSize):
            assert true.a.size is None
            assert true.b.size is None


def features(texts: list[str], names: dict[str, int]) -> np.ndarray:
    """Which words and pairs of neighbouring words each text has: float32 [N, F]."""
    rows = []
    for text in texts:
        words = ["^", *text.split(), "$"]
        rows.append({names.setdefault(name, len(names)) for name in [*words, *map(" ".join, pairwise(words))]})
    found = np.zeros((len(texts), len(names) + 1), dtype=np.float32)
    for row, columns in zip(found, rows, strict=True):
        row[list(columns)] = 1
    found[:, -1] = 1
    return found


def text_only_accuracy(told: list[tuple[str, str]], steps: int = 120) -> float:
    """Accuracy of a logistic regression on words and bigrams, trained on one half of the pairs, tested on the other."""
    names: dict[str, int] = {}
    x = features([text for pair in told for text in pair], names)
    y = np.tile(np.array([1.0, 0.0], dtype=np.float32), len(told))
    half = len(told) // 2 * 2
    weights, speed = np.zeros(x.shape[1], dtype=np.float32), np.zeros(x.shape[1], dtype=np.float32)
    for _ in range(steps):
        wrong = 1 / (1 + np.exp(-x[:half] @ weights)) - y[:half]
        speed = 0.9 * speed - 0.5 * (x[:half].T @ wrong / half + 1e-4 * weights)
        weights += speed
    return float((((x[half:] @ weights) > 0) == (y[half:] > 0.5)).mean())


def written(kind: str, count: int) -> list[tuple[str, str]]:
    rng = random.Random(5)
    styles = [rng.getrandbits(32) for _ in range(count)]
    return [
        (write(true, style), write(false, style)) for (true, false), style in zip(pairs(kind), styles, strict=False)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_words_and_bigrams_do_not_tell_true_from_false(kind: str) -> None:
    assert text_only_accuracy(written(kind, 3000)) <= 0.53


@pytest.mark.slow
def test_words_and_bigrams_do_not_tell_true_from_false_in_ten_thousand_pairs_of_all_kinds() -> None:
    told = [pair for kind in KINDS for pair in written(kind, 2000)]
    random.Random(3).shuffle(told)
    assert len(told) >= 9500
    assert text_only_accuracy(told, steps=60) <= 0.53


def test_the_text_only_model_would_see_a_prior() -> None:
    """The control: were the false number always the next larger one, the model would find out."""
    rng = random.Random(1)
    numbers = [rng.choice((1, 1, 1, 2, 2, 3)) for _ in range(1000)]
    told = [(write(Count("exactly", n, Noun())), write(Count("exactly", n + 1, Noun()))) for n in numbers]
    assert text_only_accuracy(told) > 0.6


def pattern(statement: Statement) -> str:
    """The statement with colours and shapes named by their order: what is left is structure, sizes and numbers."""
    names: dict[str, str] = {}

    def noun(value: Noun) -> tuple[str | None, ...]:
        colour = value.colour and names.setdefault(value.colour, f"colour {len(names)}")
        return (value.size, colour, value.shape and names.setdefault(value.shape, f"shape {len(names)}"))

    def plain(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(plain(item) for item in value)
        return noun(value) if isinstance(value, Noun) else value

    return f"{type(statement).__name__} {[plain(getattr(statement, name)) for name in statement.__slots__]}"


@pytest.mark.parametrize("kind", KINDS)
def test_no_pattern_is_true_more_often_than_false(kind: str) -> None:
    """Stronger than any bag of words: agreement between the nouns, sizes and numbers taken together say nothing.

    A pattern's surplus of true over false is a random walk; 4.5 standard deviations are out of reach of a
    thousand patterns' chance.
    """
    true = Counter(pattern(pair[0]) for pair in pairs(kind))
    false = Counter(pattern(pair[1]) for pair in pairs(kind))
    for name in sorted(true.keys() | false.keys()):
        seen = true[name] + false[name]
        assert abs(true[name] - false[name]) <= 4.5 * seen**0.5, (name, true[name], false[name])
