"""The book of sprites: things in, words out, and painted again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vlp.data.scenes.render import render
from vlp.data.scenes.world import Scene, sample, stream, visible_masks
from vlp.runtime import sampling
from vlp.tasks.generation.book import Book, Words, boxes, orders, sentence
from vlp.tasks.generation.parser import parse

THINGS = 5


def pictures(first: int, count: int) -> tuple[torch.Tensor, torch.Tensor, list[Scene]]:
    """Images, the masks of all their things, and what they show."""
    scenes = [sample(stream(3, first + index, "scene")) for index in range(count)]
    masks = torch.zeros(count, THINGS, 64, 64, dtype=torch.bool)
    for row, scene in enumerate(scenes):
        for number, mask in enumerate(visible_masks(scene)):
            masks[row, number] = torch.from_numpy(mask)
    return torch.stack([torch.from_numpy(render(scene)) for scene in scenes]), masks, scenes


def sentences(book: Book, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The words of pictures whose things are told in the order of their masks."""
    ground, things = book.encode(images, masks)
    return sentence(ground, things, torch.arange(THINGS).expand(len(images), -1))


@pytest.fixture(scope="module")
def book() -> Book:
    images, masks, _ = pictures(0, 400)
    made = Book(Words(sprites=96, grounds=8, side=64, things=THINGS), size=20)
    made.fit(images, masks, rounds=8, seed=0)
    return made


def test_what_is_painted_again_shows_what_was_there(book: Book) -> None:
    images, masks, scenes = pictures(1000, 40)
    again = sampling.pixels(book.paint(sentences(book, images, masks)).numpy())
    shown = [{(thing.colour, thing.shape) for thing in scene.things} for scene in scenes]
    found = [{(thing.colour, thing.shape) for thing in parse(picture).things} for picture in again]
    right = sum(len(one & other) for one, other in zip(shown, found, strict=True))
    assert right / sum(len(one | other) for one, other in zip(shown, found, strict=True)) > 0.7


def test_boxes_are_left_top_width_and_height() -> None:
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 1:4, 2:7] = True
    masks[1, 7, 0] = True
    assert boxes(masks).tolist() == [[2, 1, 5, 3], [0, 7, 1, 1]]


def test_a_picture_is_told_in_legal_words(book: Book) -> None:
    images, masks, _ = pictures(2000, 10)
    words = sentences(book, images, masks)
    legal = book.words.legal()
    assert words.shape == (10, book.words.places) == (10, 26)
    assert legal[torch.arange(26)[None], words].all()
    assert legal.sum(1).tolist() == [8, *[97, 65, 65, 65, 65] * 5]


def test_an_empty_mask_is_no_thing_and_paints_nothing(book: Book) -> None:
    images, masks, _ = pictures(0, 2)
    words = sentences(book, images, torch.zeros_like(masks))
    assert (words[:, 1::5] == book.words.sprites).all()
    levels = book.paint(words)
    assert torch.equal(levels, levels[:, :, :1, :1].expand_as(levels)), "bare ground"


def test_a_thing_fills_its_box_and_the_later_one_lies_above() -> None:
    words = Words(sprites=2, grounds=1, side=16, things=2)
    made = Book(words, size=4)
    made.sprites[0] = torch.tensor([1.0, -1.0, -1.0, 1.0])[:, None, None]
    made.sprites[1] = torch.tensor([-1.0, -1.0, 1.0, 1.0])[:, None, None]
    pixel = words.sprites + 1
    told = [
        words.count - 1,
        0,
        *(pixel + value for value in (2, 3, 8, 6)),
        1,
        *(pixel + value for value in (6, 3, 4, 4)),
    ]
    (levels,) = made.paint(torch.tensor([told]))
    assert levels[:, 8, 4].tolist() == [1, -1, -1] and levels[:, 5, 8].tolist() == [-1, -1, 1]
    assert levels[:, 1, 4].tolist() == [0, 0, 0] == levels[:, 8, 12].tolist()


def test_a_seed_is_a_book() -> None:
    images, masks, _ = pictures(0, 20)
    one, two, other = (Book(Words(4, 2, 64, THINGS), size=8) for _ in range(3))
    for made, seed in ((one, 1), (two, 1), (other, 2)):
        made.fit(images, masks, rounds=3, seed=seed)
    assert torch.equal(one.sprites, two.sprites) and not torch.equal(one.sprites, other.sprites)


def test_a_book_needs_as_many_regions_as_sprites() -> None:
    images, masks, scenes = pictures(0, 3)
    there = sum(len(scene.things) for scene in scenes)
    with pytest.raises(ValueError, match=rf"tasks\.generation\.book\.sprites: 99, but there are {there} regions"):
        Book(Words(99, 2, 64, THINGS), size=8).fit(images, masks, rounds=1, seed=0)
    with pytest.raises(ValueError, match=r"tasks\.generation\.book\.grounds: 9, but there are 3 pictures"):
        Book(Words(2, 9, 64, THINGS), size=8).fit(images, masks, rounds=1, seed=0)


def test_all_orders_come_before_any_comes_twice() -> None:
    rng = np.random.default_rng(0)
    assert len({tuple(row) for row in orders(3, 3, 6, 9, rng).tolist()}) == 6
    assert sorted(orders(2, 3, 4, 2, rng).tolist()) == [[0, 1, 2], [0, 1, 2], [1, 0, 2], [1, 0, 2]]
    assert orders(0, 2, 2, 0, rng).tolist() == [[0, 0], [0, 0]]


def test_of_many_regions_some_are_told_none_twice() -> None:
    found = orders(40, 3, 6, 40, np.random.default_rng(0))
    assert found.shape == (6, 3) and found.max() < 40
    assert all(len(set(row)) == 3 for row in found.tolist()) and len({tuple(row) for row in found.tolist()}) > 1
