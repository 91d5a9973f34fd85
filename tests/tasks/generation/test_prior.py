"""The prior: one pass over a whole picture says what place after place says, and no place sees what comes later."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vlp.runtime import sampling
from vlp.runtime.sampling import Canvas, Told
from vlp.tasks.generation.prior import SIDE, UP, Prior

CANVAS = Canvas(grid=6, up=UP, side=SIDE, codes=7)


@pytest.fixture(scope="module")
def prior() -> Prior:
    torch.manual_seed(0)
    made = Prior(7, pixels=12, grid=6, text_width=16, width=24, layers=2, heads=2)
    with torch.no_grad():
        for parameter in made.parameters():  # what starts at zero is moved away from it
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


@pytest.fixture(scope="module")
def centres() -> torch.Tensor:
    return torch.randn(7, 12, generator=torch.Generator().manual_seed(1))


def texts(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of 4 and 3 tokens in turn."""
    tokens = torch.randn(count, 4, 16, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(count, 4, dtype=torch.int64)
    mask[1::2, 3:] = 0
    return tokens, mask


@torch.inference_mode()
def test_place_by_place_says_what_the_whole_picture_says(prior: Prior, centres: torch.Tensor) -> None:
    tokens, mask = texts(2)
    keys, values = prior.reading(tokens, mask)
    said = []

    def step(known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = prior.step(**{name: torch.from_numpy(array) for name, array in known.items()}, centres=centres)
        said.append(found[0])
        return {name: tensor.numpy() for name, tensor in zip(("logits", "key", "value"), found, strict=True)}

    told = Told(keys.numpy(), values.numpy(), mask.numpy())
    codes = sampling.write(step, told, None, sampling.noise([1, 2], 1, CANVAS), CANVAS, guidance=1, least=0)
    assert len(np.unique(codes)) > 3
    whole = prior(torch.from_numpy(codes), tokens, mask, centres)
    torch.testing.assert_close(torch.stack(said, dim=1), whole, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_no_place_sees_itself_or_what_comes_later(prior: Prior, centres: torch.Tensor) -> None:
    tokens, mask = texts(1)
    codes = torch.randint(0, 7, (1, 6, 6), generator=torch.Generator().manual_seed(3))
    before = prior(codes, tokens, mask, centres)
    for place in (0, 7, 20):
        changed = codes.clone()
        changed[0, place // 6, place % 6] = (codes[0, place // 6, place % 6] + 1) % 7
        after = prior(changed, tokens, mask, centres)
        moved = (after - before).abs().amax(2)[0] > 1e-5
        assert not moved[: place + 1].any() and moved[place + 1 :].all()


@torch.inference_mode()
def test_texts_are_read_and_their_padding_is_not(prior: Prior, centres: torch.Tensor) -> None:
    tokens, mask = texts(2)
    codes = torch.randint(0, 7, (2, 6, 6), generator=torch.Generator().manual_seed(4))
    found = prior(codes, tokens, mask, centres)
    other = tokens.clone()
    other[1, 3] += 1
    torch.testing.assert_close(prior(codes, other, mask, centres), found)
    other[1, 2] += 1
    assert (prior(codes, other, mask, centres)[1] - found[1]).abs().max() > 1e-3


@torch.inference_mode()
def test_several_texts_of_a_picture_are_told_together_in_any_order(prior: Prior, centres: torch.Tensor) -> None:
    tokens, mask = texts(4)
    codes = torch.randint(0, 7, (2, 6, 6), generator=torch.Generator().manual_seed(5))
    found = prior(codes, tokens, mask, centres)
    swapped = torch.tensor([1, 0, 3, 2])
    torch.testing.assert_close(prior(codes, tokens[swapped], mask[swapped], centres), found, atol=1e-5, rtol=1e-4)
    alone = prior(codes, tokens[::2], mask[::2], centres)
    assert (alone - found).abs().max() > 1e-3
