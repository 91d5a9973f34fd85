"""Pictures as a ground and the things on it: each thing a sprite out of a learned book, and the box that it fills.

The book is made of the regions of training pictures, by k-means and without any network: what lies in a region's box,
stretched to one size, its outline beside its colours. Averages of what is alike are sprites. A picture is told by few
words then (``Book.encode``) and painted from them again (``Book.paint``), the first thing hindmost.

Sources: text to boxes to shapes to pixels, Hong et al. 2018, https://arxiv.org/abs/1801.05091; pictures of sprites out
of a learned dictionary, Smirnov et al. 2021 (MarioNette), https://arxiv.org/abs/2104.14553; k-means as a quantiser,
Linde, Buzo & Gray 1980, https://doi.org/10.1109/TCOM.1980.1094577
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp.data.loading import draw

_AT_ONCE = 4096
_CRISP = 4.0
"""Slope of a sprite's rim: averages of outlines that differ a little are soft, things are not."""


@dataclass(frozen=True, slots=True)
class Words:
    """The vocabulary of pictures and their grammar.

    A picture is its ground's word, then for each of ``things`` a sprite (the last of them is "nothing") and the left,
    top, width and height of its box in pixels; words are numbered in this order: sprites, pixels, grounds.

    Args:
        sprites: in the book, "nothing" left out.
        grounds: in the book.
        side: S of the pictures.
        things: at most, of one picture.
    """

    sprites: int
    grounds: int
    side: int
    things: int

    @property
    def places(self) -> int:
        """P, words of one picture."""
        return 1 + 5 * self.things

    @property
    def count(self) -> int:
        """V, different words."""
        return self.sprites + 1 + self.side + 1 + self.grounds

    def legal(self) -> Tensor:
        """Which words may stand at which place: bool [P, V]."""
        found = torch.zeros(self.places, self.count, dtype=torch.bool)
        found[0, self.count - self.grounds :] = True
        for place in range(1, self.places):
            first = (place - 1) % 5 == 0
            found[place, slice(0, self.sprites + 1) if first else slice(self.sprites + 1, -self.grounds)] = True
        return found


class Book(nn.Module):
    """Sprites and grounds.

    Args:
        words: how many of each.
        size: pixels that a sprite is kept at, a side.

    Attributes:
        sprites: float32 [sprites + 1, 4, size, size]: colours −1 to 1 times the outline's share, and that share. The
            last one is empty.
        grounds: float32 [grounds, 3], −1 to 1.
    """

    sprites: Tensor
    grounds: Tensor

    def __init__(self, words: Words, size: int) -> None:
        super().__init__()
        self.words, self.size = words, size
        self.register_buffer("sprites", torch.zeros(words.sprites + 1, 4, size, size))
        self.register_buffer("grounds", torch.zeros(words.grounds, 3))

    def fit(self, images: Tensor, masks: Tensor, *, rounds: int, seed: int) -> None:
        """Make the book by k-means.

        Args:
            images: uint8 [B, S, S, 3].
            masks: bool [B, M, S, S], empty where an image has fewer regions.
            rounds: of k-means.
            seed: of where it begins.

        Raises:
            ValueError: fewer regions than sprites, or fewer images than grounds.
        """
        generator = torch.Generator().manual_seed(seed)
        levels = _levels(images)
        there = masks.flatten(2).any(2)
        owner, _ = there.nonzero(as_tuple=True)
        for name, found, wanted in (
            ("sprites", len(owner), self.words.sprites),
            ("grounds", len(images), self.words.grounds),
        ):
            if found < wanted:
                what = "regions" if name == "sprites" else "pictures"
                raise ValueError(
                    f"tasks.generation.book.{name}: {wanted}, but there are {found} {what} to make them of"
                )
        crops = self._crops(levels, masks[there], owner).flatten(1)
        sprites = _kmeans(crops, self.words.sprites, rounds, generator)
        self.sprites[:-1].copy_(sprites.unflatten(1, (4, self.size, self.size)))
        self.grounds.copy_(_kmeans(_ground(levels), self.words.grounds, rounds, generator))

    def encode(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """What there is to say of pictures, in no order: args as of ``fit``.

        Returns:
            The word of each ground, int64 [B], and the five of each region, int64 [B, M + 1, 5]: those of an empty
            mask, and the last ones of every picture, say "nothing".
        """
        words = self.words
        levels = _levels(images)
        there = masks.flatten(2).any(2)
        owner, number = there.nonzero(as_tuple=True)
        told = torch.zeros(len(images), masks.shape[1] + 1, 5, dtype=torch.int64, device=images.device)
        told[:, :, 0] = words.sprites
        if len(owner):
            crops = self._crops(levels, masks[there], owner).flatten(1)
            told[owner, number, 0] = _nearest(crops, self.sprites[:-1].flatten(1))
            told[owner, number, 1:] = boxes(masks[there])
        told[:, :, 1:] += words.sprites + 1
        return _nearest(_ground(levels), self.grounds) + words.count - words.grounds, told

    def paint(self, words: Tensor) -> Tensor:
        """Levels −1 to 1, float32 [B, 3, S, S], of words int64 [B, P]."""
        side = self.words.side
        ground = self.grounds[words[:, 0] - (self.words.count - self.words.grounds)]
        picture = ground[:, :, None, None].expand(-1, -1, side, side)
        told = words[:, 1:].unflatten(1, (-1, 5))
        pixels = (torch.arange(side, device=words.device) + 0.5)[None]
        for number in range(self.words.things):
            box = (told[:, number, 1:] - (self.words.sprites + 1)).float()
            across, down = (
                2 * (pixels - box[:, axis, None]) / box[:, 2 + axis, None].clamp_min(1) - 1 for axis in (0, 1)
            )
            grid = torch.stack([across[:, None, :].expand(-1, side, -1), down[:, :, None].expand(-1, -1, side)], dim=3)
            thing = F.grid_sample(self.sprites[told[:, number, 0]], grid, padding_mode="zeros", align_corners=False)
            share = thing[:, 3:]
            colour = thing[:, :3] / share.clamp_min(1e-3)
            cover = ((share - 0.5) * _CRISP + 0.5).clamp(0, 1)
            picture = picture + (colour - picture) * cover
        return picture

    def _crops(self, levels: Tensor, masks: Tensor, owner: Tensor) -> Tensor:
        """What lies in each mask's box: colours times mask, and mask, float32 [R, 4, size, size].

        Args:
            levels: [B, 3, S, S].
            masks: bool [R, S, S], none empty.
            owner: int64 [R], the picture of each.
        """
        side = levels.shape[2]
        box = boxes(masks).float()
        steps = (torch.arange(self.size, device=masks.device) + 0.5) / self.size
        across, down = (2 * (box[:, axis, None] + box[:, 2 + axis, None] * steps) / side - 1 for axis in (0, 1))
        grid = torch.stack(
            [across[:, None, :].expand(-1, self.size, -1), down[:, :, None].expand(-1, -1, self.size)], dim=3
        )
        found = []
        for some in torch.arange(len(masks), device=masks.device).split(_AT_ONCE):
            mask = masks[some, None].float()
            layers = torch.cat([levels[owner[some]] * mask, mask], dim=1)
            found.append(F.grid_sample(layers, grid[some], padding_mode="border", align_corners=False))
        return torch.cat(found)


def orders(regions: int, things: int, wanted: int, nothing: int, rng: np.random.Generator) -> np.ndarray:
    """Orders in which a picture's regions may be told, all there are before any comes twice: int64 [wanted, things].

    Args:
        regions: of the picture, numbered from 0.
        things: told at most.
        wanted: orders.
        nothing: what stands where there is no region left.
        rng: of the draw.
    """
    told = min(regions, things)
    found = np.full((wanted, things), nothing, np.int64)
    if math.perm(regions, told) <= wanted:
        every = np.array(list(itertools.permutations(range(regions), told)), np.int64)
        found[:, :told] = every[[*draw(len(every), wanted, rng)]]
    else:
        for row in found:
            row[:told] = rng.permutation(regions)[:told]
    return found


def sentence(ground: Tensor, things: Tensor, order: Tensor) -> Tensor:
    """The words of pictures, int64 [N, P], in an order int64 [N, things] of what ``Book.encode`` gives."""
    chosen = things.take_along_dim(order[:, :, None], dim=1)
    return torch.cat([ground[:, None], chosen.flatten(1)], dim=1)


def boxes(masks: Tensor) -> Tensor:
    """Left, top, width and height in pixels of bool masks [R, S, S], none empty: int64 [R, 4]."""
    side = masks.shape[2]
    across, down = masks.any(1).long(), masks.any(2).long()
    left, top = across.argmax(1), down.argmax(1)
    right, bottom = side - across.flip(1).argmax(1), side - down.flip(1).argmax(1)
    return torch.stack([left, top, right - left, bottom - top], dim=1)


def _levels(images: Tensor) -> Tensor:
    """uint8 [B, S, S, 3] → levels −1 to 1, float32 [B, 3, S, S]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def _ground(levels: Tensor) -> Tensor:
    """The middle one of each picture's levels, channel by channel, [B, 3]: most of a picture is ground."""
    return levels.flatten(2).median(dim=2).values


def _kmeans(points: Tensor, count: int, rounds: int, generator: torch.Generator) -> Tensor:
    """Centres [count, D] of points [R, D]."""
    centres = points[torch.randperm(len(points), generator=generator)[:count]].clone()
    for _ in range(rounds):
        nearest = _nearest(points, centres)
        sizes = torch.bincount(nearest, minlength=count).float()
        total = torch.zeros_like(centres).index_add_(0, nearest, points)
        # A centre that no point is nearest to starts anew from any of them.
        anew = points[torch.randint(len(points), (count,), generator=generator)]
        centres = torch.where(sizes[:, None] > 0, total / sizes.clamp_min(1)[:, None], anew)
    return centres


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Which of [K, D] is nearest to each of [R, D]: int64 [R]."""
    half = 0.5 * centres.square().sum(1)
    return torch.cat([(some @ centres.T - half).argmax(1) for some in points.split(_AT_ONCE)])
