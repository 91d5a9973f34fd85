"""The codebook: patches in, the nearest of the book out."""

from __future__ import annotations

import pytest
import torch

from vlp.data.scenes.render import render
from vlp.data.scenes.world import sample, stream
from vlp.tasks.generation.codebook import Codebook


def pictures(count: int) -> torch.Tensor:
    return torch.stack([torch.from_numpy(render(sample(stream(3, index, "scene")))) for index in range(count)])


def test_a_picture_of_patches_in_the_book_comes_back_as_it_was() -> None:
    book = Codebook(3, 2)
    colours = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 0.0, -1.0], [1.0, 1.0, 1.0]])
    book.centres.copy_(colours.repeat(1, 4))
    book.centres[1, :3] = torch.tensor([1.0, 1.0, 1.0])  # the upper left pixel of this one is white
    codes = torch.tensor([[[0, 1], [2, 0]]])
    levels = book.decode(codes)
    assert levels.shape == (1, 3, 4, 4)
    assert levels[0, :, 0, 2].tolist() == [1, 1, 1] and levels[0, :, 1, 2].tolist() == [1, 0, -1]
    images = ((levels + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
    assert torch.equal(book.encode(images), codes)


def test_more_codes_are_nearer_to_pictures_that_the_book_was_not_made_of() -> None:
    images = pictures(80)
    missed = []
    for codes in (4, 16, 64):
        book = Codebook(codes, 4)
        book.fit(images[:60], patches=6000, rounds=8, seed=0)
        held_out = images[60:]
        missed.append(float((book.decode(book.encode(held_out)) - book.levels(held_out)).square().mean()))
    assert missed[0] > 1.5 * missed[1] > 2 * missed[2]


def test_a_seed_is_a_book() -> None:
    images = pictures(10)
    one, two, other = Codebook(8, 4), Codebook(8, 4), Codebook(8, 4)
    for book, seed in ((one, 1), (two, 1), (other, 2)):
        book.fit(images, patches=1000, rounds=3, seed=seed)
    assert torch.equal(one.centres, two.centres) and not torch.equal(one.centres, other.centres)


def test_patches_without_contrast_fill_a_book_too() -> None:
    book = Codebook(4, 4)
    book.fit(torch.full((1, 8, 8, 3), 100, dtype=torch.uint8), patches=100, rounds=2, seed=0)
    assert torch.allclose(book.centres, torch.full_like(book.centres, 100 / 127.5 - 1), atol=1e-6)


def test_fewer_patches_than_codes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tasks\.generation\.codebook\.codes: 5, but the training pictures have 4"):
        Codebook(5, 4).fit(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), patches=100, rounds=2, seed=0)
