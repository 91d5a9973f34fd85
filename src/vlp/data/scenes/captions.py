"""The captions of a scene: a mix of kinds of true statement, in words, each beside its false edit."""

from __future__ import annotations

import random

from pydantic import Field, model_validator

from vlp.data.scenes.grammar import write
from vlp.data.scenes.pairs import SAMPLERS
from vlp.data.scenes.statements import Statement
from vlp.data.scenes.world import Scene
from vlp.params import Section
from vlp.records import Caption

KINDS = tuple(SAMPLERS)
"""The kinds of statement; each is a slice of the evaluation."""
_PATIENCE = 20
"""Draws of one kind before it gives way."""


class KindMix(Section):
    """How often each kind of statement is drawn; only the proportions matter."""

    attribute: float = Field(default=0.35, ge=0, description="what there is, and what a thing is like")
    relation: float = Field(default=0.2, ge=0, description="left of, right of, above, below")
    count: float = Field(default=0.2, ge=0, description="how many there are")
    comparison: float = Field(default=0.1, ge=0, description="more, fewer, as many; larger, smaller")
    negation: float = Field(default=0.15, ge=0, description="what there is not, and what a thing is not")

    @model_validator(mode="after")
    def _some(self) -> KindMix:
        if sum(self.weights()) <= 0:
            raise ValueError("at least one kind must be above 0")
        return self

    def weights(self) -> tuple[float, ...]:
        """The shares in the order of ``KINDS``."""
        return (self.attribute, self.relation, self.count, self.comparison, self.negation)


def captions(rng: random.Random, scene: Scene, count: int, mix: KindMix) -> tuple[Caption, ...]:
    """Draw ``count`` different true statements about ``scene``, each with a false minimal edit.

    Kinds are drawn in the proportions of ``mix``, spread over the captions of one scene; a kind that the
    scene has no statement of (a relation, of one thing) gives way to an attribute. Fewer than ``count`` come
    back only where the scene has no more to say.
    """
    drawn: dict[Statement, Caption] = {}
    for kind in _kinds(rng, count, mix):
        for attempt in range(2 * _PATIENCE):
            pair = SAMPLERS[kind](rng, scene)
            if pair is not None and pair[0] not in drawn:
                style = rng.getrandbits(32)
                drawn[pair[0]] = Caption(text=write(pair[0], style), negative=write(pair[1], style), kind=kind)
                break
            if attempt >= _PATIENCE:
                kind = "attribute"
    return tuple(drawn.values())


def _kinds(rng: random.Random, count: int, mix: KindMix) -> list[str]:
    """``count`` kinds by systematic sampling: each as often as its share says, rounded up or down."""
    weights = mix.weights()
    step, mark = sum(weights) / count, rng.random() * sum(weights) / count
    kinds: list[str] = []
    reached = 0.0
    for kind, weight in zip(KINDS, weights, strict=True):
        reached += weight
        while mark < reached and len(kinds) < count:
            kinds.append(kind)
            mark += step
    rng.shuffle(kinds)
    return kinds
