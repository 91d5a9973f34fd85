"""Grounding: where in the picture is what each of these expressions names, and how do they lie to each other?

Some of an image's regions are told in one text, a masked word between each two: "the red ring [MASK] the large
star". Four things are asked of its fused tokens:

* every token of an expression looks at the places of its region: some heads of each layer are shown where;
* every token of an expression counts one thing, at the middle of its region, where the fusion block counts at all;
* every token of an expression tells the region's box, so that not only what it names is carried into the text,
  but where that is;
* the masked word between two expressions tells how the second box differs from the first: the way there, and how
  much wider and higher it is. That is what "left of", "above" and "larger than" mean before they are words, and
  where they stand. Matching alone does not find it: a statement about two places and a direction is told from
  its edit by no two of the three.

Sources: text-conditioned boxes of phrases told in one text, simple grounding first: Kamath et al. 2021 (MDETR),
https://arxiv.org/abs/2104.12763; attention shown where to look: Liu et al. 2017, https://arxiv.org/abs/1609.04186.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Examples, Prepared, TokenIds, draw, pad
from vlp.models.nothing import NOTHING, nothing
from vlp.objectives.base import Collated, Drawn, Objective, ObjectiveParams, Sizes, Step

LEAST_MASS = 1e-4
"""A look that misses its region altogether costs no more than the logarithm of this."""


class Params(ObjectiveParams):
    """``pretrain.objectives.grounding``."""

    regions_per_image: int = Field(gt=0, description="drawn a step and told in one text")
    heads: int = Field(gt=0, description="of each layer that are shown where to look; the others stay free")
    attention_weight: float = Field(ge=0, description="of looking there")
    count_weight: float = Field(default=0.0, ge=0, description="of counting one thing, at the middle of its region")
    box_weight: float = Field(ge=0, description="of the box, in shares of the picture's side")
    step_weight: float = Field(ge=0, description="of how the next region's box differs, in the same unit")


class Head(Objective):
    """A box and a difference of two, each linear in one token."""

    losses = ("grounding_loss",)
    reads_captions = False

    def __init__(self, params: Params, prepared: Prepared, sizes: Sizes) -> None:
        super().__init__()
        if not prepared.summary["splits"]["train"]["regions"]:
            raise ValueError(
                f"pretrain.objectives.grounding: {prepared.folder}: no training record has a region; "
                "remove the objective, or name the source's masks"
            )
        self.params = params
        self.grid, self.positions = sizes.grid, sizes.positions
        self.pad_id, self.mask_id = prepared.pad_id, prepared.mask_id
        self.box = nn.Linear(sizes.fused, 4)
        self.step = nn.Linear(sizes.fused, 4)

    def collate(
        self, examples: Examples, rows: Sequence[int], drawn: Drawn | None, rng: np.random.Generator
    ) -> Collated:
        """``regions``: one text an image; targets of its tokens, not a number where nothing is asked.

        ``region_boxes`` float32 [B, L, 4] (centre and size, x before y), ``region_steps`` [B, L, 4] (the next box
        less the last one), ``region_places`` bool [B, L, P], ``region_middles`` float32 [B, L, P].
        """
        told = [self._tell(examples, row, rng) for row in rows]
        texts = pad([ids for ids, _ in told], range(len(rows)), self.pad_id)
        boxes_BL4, steps_BL4 = (np.full((*texts.input_ids.shape, 4), np.nan, np.float32) for _ in range(2))
        places_BLP, middles_BLP = (
            np.zeros((*texts.input_ids.shape, self.grid[0] * self.grid[1]), kind) for kind in (bool, np.float32)
        )
        for row, (_, spans) in enumerate(told):
            for number, (first, stop, mask) in enumerate(spans):
                boxes_BL4[row, first:stop] = box(mask)
                places_BLP[row, first:stop] = places(mask, self.grid)
                middles_BLP[row, first:stop] = middle(box(mask), self.grid)
                if number:
                    before = spans[number - 1]
                    steps_BL4[row, before[1]] = box(mask) - box(before[2])
        targets = {
            "region_boxes": boxes_BL4,
            "region_steps": steps_BL4,
            "region_places": places_BLP,
            "region_middles": middles_BLP,
        }
        return Collated({"regions": texts}, {name: torch.from_numpy(array) for name, array in targets.items()})

    def _tell(
        self, examples: Examples, row: int, rng: np.random.Generator
    ) -> tuple[TokenIds, list[tuple[int, int, np.ndarray]]]:
        """One text of some of the row's regions, and where in it each stands: first, stop, mask."""
        expressions = examples.ids("regions", "ids", row)
        if not expressions:
            return np.array([self.mask_id], np.int32), []  # a text about nothing: the batch stays regular
        masks, length = examples.masks(row), 1
        parts: list[np.ndarray] = []
        spans: list[tuple[int, int, np.ndarray]] = []
        first, last = _ends(expressions[0])
        for chosen in draw(len(expressions), min(self.params.regions_per_image, len(expressions)), rng):
            ids = expressions[chosen]
            assert ids is not None
            words = ids[1:-1]  # between the special tokens that open and close every text
            if length + len(words) >= self.positions:
                break
            parts += [words, np.array([self.mask_id])]
            spans.append((length, length + len(words), masks[chosen]))
            length += len(words) + 1
        return np.concatenate([first, *parts[:-1], last]).astype(np.int32), spans

    def forward(self, step: Step) -> dict[str, Tensor]:
        fused, targets = step.fused("regions"), step.batch.targets
        if fused.tokens is None or not fused.attention:
            raise ValueError(
                f"pretrain.objectives.grounding: fusion {step.model.config.fusion['name']!r} has no tokens that look "
                "at places of the picture; remove the objective or choose cross_attention or transformer"
            )
        asked_BL, between_BL = (~targets[name].isnan().any(-1) for name in ("region_boxes", "region_steps"))
        # Once for all layers: a GPU waits wherever a mask is turned into places.
        asked_T, between_U = (mask.flatten().nonzero().squeeze(1) for mask in (asked_BL, between_BL))
        if not len(asked_T):
            return {NOTHING: nothing([*self.parameters(), fused.tokens])}
        box_loss = F.l1_loss(
            self.box(_chosen(fused.tokens, asked_T)).float(), _chosen(targets["region_boxes"], asked_T)
        )
        found = {"box_error": box_loss}
        loss = self.params.box_weight * box_loss
        if len(between_U):
            found["step_error"] = F.l1_loss(
                self.step(_chosen(fused.tokens, between_U)).float(), _chosen(targets["region_steps"], between_U)
            )
            loss = loss + self.params.step_weight * found["step_error"]
        else:
            loss = loss + nothing(self.step.parameters())
        places_TP = _chosen(targets["region_places"], asked_T)
        looks = [_chosen(attention[:, : self.params.heads].mean(1), asked_T).float() for attention in fused.attention]
        mass = torch.stack([(look_TP * places_TP).sum(-1) for look_TP in looks])
        loss = loss - self.params.attention_weight * mass.clamp_min(LEAST_MASS).log().mean()
        if self.params.count_weight:
            if not fused.gates:
                raise ValueError(
                    "pretrain.objectives.grounding: count_weight: the fusion block does not count; set it to 0, or "
                    "counting_heads of cross_attention to 1 or more"
                )
            found["count_error"] = _counted_once(fused.gates, targets["region_middles"], asked_T)
            loss = loss + self.params.count_weight * found["count_error"]
        return {"grounding_loss": loss, **found, "looked_there": mass.mean()}


def _ends(ids: TokenIds | None) -> tuple[np.ndarray, np.ndarray]:
    """The special tokens that open and close a text."""
    assert ids is not None
    return ids[:1], ids[-1:]


def _chosen(rows: Tensor, tokens: Tensor) -> Tensor:
    """[T, …] of [N, L, …]: those of N · L tokens."""
    return rows.flatten(0, 1).index_select(0, tokens)


def _counted_once(gates: Sequence[Tensor], middles: Tensor, asked: Tensor) -> Tensor:
    """Cross-entropy of every place's gate, summed over places: open at the region's middle, closed elsewhere.

    Args:
        gates: of each layer, before the sigmoid, [N, heads, L, P].
        middles: [N, L, P].
        asked: int64 [T], the tokens that are asked, among N · L.
    """
    wanted_T1P = _chosen(middles, asked)[:, None]
    each = [_chosen(layer.transpose(1, 2), asked).float() for layer in gates]
    losses = [
        F.binary_cross_entropy_with_logits(gate_THP, wanted_T1P.expand_as(gate_THP), reduction="none")
        for gate_THP in each
    ]
    return torch.stack(losses).sum(-1).mean()


def middle(centre: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Float32 [P], which sums to 1: a thing at a centre (x, y, …), spread bilinearly over the places around it."""
    shares = []
    for place, cells in ((centre[1], grid[0]), (centre[0], grid[1])):
        at = np.clip(place * cells - 0.5, 0, cells - 1)
        shares.append(np.maximum(0, 1 - np.abs(np.arange(cells) - at)))
    return np.outer(*shares).ravel().astype(np.float32)


def box(mask: np.ndarray) -> np.ndarray:
    """Centre x, centre y, width and height [4] of a bool mask [S, S] with something in it, as shares of its side."""
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis))[[0, -1]] for axis in (1, 0))
    return np.array([left + right + 1, top + bottom + 1, 2 * (right - left + 1), 2 * (bottom - top + 1)]) / (
        2 * len(mask)
    )


def places(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Bool [P]: the places of the grid that a bool mask [S, S] covers a tenth of, or those it covers most of."""
    tops, lefts = (_edges(len(mask), cells) for cells in grid)
    covered = np.add.reduceat(np.add.reduceat(mask, tops, axis=0, dtype=np.int64), lefts, axis=1)
    size = np.outer(np.diff([*tops, len(mask)]), np.diff([*lefts, len(mask)]))
    share = (covered / size).ravel()
    return share >= min(0.1, float(share.max()))


@cache
def _edges(side: int, cells: int) -> np.ndarray:
    """The first pixel of each of ``cells`` cells along a side of so many pixels: pixel p lies in p · cells // side."""
    return -(-np.arange(cells) * side // cells)
