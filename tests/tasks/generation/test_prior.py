"""The prior: one pass over a whole picture says what word after word says, and no place sees what comes later."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vlp.runtime import sampling
from vlp.runtime.sampling import Told
from vlp.tasks.generation.book import Words
from vlp.tasks.generation.prior import Prior

WORDS = Words(sprites=4, grounds=3, side=6, things=2)


@pytest.fixture(scope="module")
def prior() -> Prior:
    torch.manual_seed(0)
    return Prior(WORDS.legal(), text_width=16, width=24, layers=2, heads=2).eval()


def texts(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of 4 and 3 tokens in turn."""
    tokens = torch.randn(count, 4, 16, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(count, 4, dtype=torch.int64)
    mask[1::2, 3:] = 0
    return tokens, mask


def told_by(prior: Prior, seeds: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Words of a picture for each seed, and the logits on the way."""
    tokens, mask = texts(len(seeds))
    keys, values = prior.reading(tokens, mask)
    said = []

    def step(known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = prior.step(**{name: torch.from_numpy(array) for name, array in known.items()})
        said.append(found[0])
        return {name: tensor.numpy() for name, tensor in zip(("logits", "key", "value"), found, strict=True)}

    noise = sampling.noise(seeds, 1, WORDS.places, WORDS.count)
    told = Told(keys.numpy(), values.numpy(), mask.numpy())
    return torch.from_numpy(sampling.tell(step, told, None, noise, guidance=1)), torch.stack(said, dim=1)


@torch.inference_mode()
def test_word_by_word_says_what_the_whole_picture_says(prior: Prior) -> None:
    words, said = told_by(prior, [1, 2])
    whole = prior(words, *texts(2))
    torch.testing.assert_close(said, whole, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_only_legal_words_are_told(prior: Prior) -> None:
    words, _ = told_by(prior, list(range(40)))
    assert WORDS.legal()[torch.arange(WORDS.places)[None], words].all()
    assert len(words.unique()) > 10


@torch.inference_mode()
def test_no_place_sees_itself_or_what_comes_later(prior: Prior) -> None:
    words, _ = told_by(prior, [3])
    before = prior(words, *texts(1))
    for place in (0, 4, 7):
        changed = words.clone()
        changed[0, place] = (words[0, place] + 1) % WORDS.count
        moved = (prior(changed, *texts(1)) - before).abs().amax(2)[0] > 1e-5
        assert not moved[: place + 1].any() and moved[place + 1 :].all()


@torch.inference_mode()
def test_texts_are_read_and_their_padding_is_not(prior: Prior) -> None:
    tokens, mask = texts(2)
    words, _ = told_by(prior, [4, 5])
    found = prior(words, tokens, mask)
    other = tokens.clone()
    other[1, 3] += 1
    torch.testing.assert_close(prior(words, other, mask), found)
    other[1, 2] += torch.linspace(-1, 1, 16)
    assert (prior(words, other, mask)[1] - found[1]).abs().max() > 1e-3
