"""Sampling, from models whose opinion is known."""

from __future__ import annotations

import numpy as np
import pytest

from vlp.runtime import sampling
from vlp.runtime.sampling import Told

TOLD = Told(np.ones((1, 2, 1, 2, 1), np.float32), np.ones((1, 2, 1, 2, 1), np.float32), np.ones((2, 2), np.int64))
UNTOLD = Told(*(array[:, :, :, :1] for array in (TOLD.keys, TOLD.values)), TOLD.seen[:, :1])
PLACES, WORDS = 9, 4


class Model:
    """Says ``logits`` of told texts and zeros of untold ones; keeps what it was asked."""

    def __init__(self, logits: list[float]) -> None:
        self.logits = np.array(logits, np.float32)
        self.asked: list[dict[str, np.ndarray]] = []

    def __call__(self, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.asked.append({name: array.copy() for name, array in known.items()})
        rows = len(known["place"])
        logits = np.zeros((rows, len(self.logits)), np.float32)
        logits[:2] = self.logits
        own = np.full((1, rows, 1, 1), 10.0 + known["place"][0], np.float32)
        return {"logits": logits, "key": own, "value": -own}


def quiet() -> np.ndarray:
    """No chance at all, for two pictures."""
    return np.zeros((2, PLACES, WORDS), np.float32)


def test_noise_hangs_on_the_seed_alone() -> None:
    both = sampling.noise([4, 5], 2, PLACES, WORDS)
    assert both.shape == (4, 9, 4) and both.dtype == np.float32
    assert np.array_equal(both[2:], sampling.noise([5], 2, PLACES, WORDS))
    assert np.array_equal(both[:1], sampling.noise([4], 1, PLACES, WORDS)), "the first does not depend on the others"
    assert not np.array_equal(both[0], both[1])


def test_words_come_as_often_as_they_are_likely() -> None:
    likely = np.array([0.6, 0.3, 0.1])
    noise = sampling.noise([1, 2], 1, 1600, 3)
    found = sampling.tell(Model(np.log(likely).tolist()), TOLD, None, noise, guidance=1)
    share = np.bincount(found.ravel(), minlength=3) / found.size
    # Three standard deviations of a share among 3,200 draws are at most 0.027.
    np.testing.assert_allclose(share, likely, atol=0.027)


def test_guidance_exaggerates_what_the_text_changes() -> None:
    noise = quiet()
    noise[:, :, 1] = 2.0  # outweighs a lead of one, not of three
    for guidance, word in ((1.0, 1), (3.0, 0), (-1.0, 1)):
        assert np.all(sampling.tell(Model([1, 0, 0, 0]), TOLD, UNTOLD, noise, guidance=guidance) == word)


def test_without_guidance_only_the_text_is_asked() -> None:
    model = Model([0, 0, 1, 0])
    found = sampling.tell(model, TOLD, None, quiet(), guidance=1)
    assert np.all(found == 2) and found.shape == (2, 9)
    assert all(len(asked["place"]) == 2 for asked in model.asked)


def test_each_place_is_asked_what_follows_the_word_before_it() -> None:
    model = Model([0, 0, 0, 0])
    noise = quiet()
    told = np.array([0, 1, 2, 3, 2, 1, 0, 1, 2])
    np.put_along_axis(noise, np.stack([told, told])[..., None], 1.0, axis=2)
    found = sampling.tell(model, TOLD, None, noise, guidance=1)
    assert np.array_equal(found, [told, told])
    assert [asked["word"].tolist() for asked in model.asked] == [[word, word] for word in (4, *told[:-1])]
    assert [asked["place"].tolist() for asked in model.asked] == [[place, place] for place in range(9)]


def test_keys_and_values_of_all_that_is_known_are_handed_on() -> None:
    model = Model([0, 0, 0, 0])
    sampling.tell(model, TOLD, UNTOLD, quiet(), guidance=2)
    last = model.asked[-1]
    assert last["keys"].shape == (1, 4, 1, 2 + 8, 1)
    assert last["keys"][0, 0, 0, :, 0].tolist() == [1, 1, *range(10, 18)]
    assert last["values"][0, 3, 0, :, 0].tolist() == [1, 0, *range(-10, -18, -1)]
    assert last["seen"][:, :2].tolist() == [[1, 1], [1, 1], [1, 0], [1, 0]], "the shorter text is padded, unseen"
    assert np.all(last["seen"][:, 2:] == 1)


def test_levels_become_bytes_and_are_cut_off_beyond() -> None:
    levels = np.array([-2.0, -1.0, 0.0, 1.0, 2.0], np.float32).reshape(1, 1, 1, 5).repeat(3, axis=1)
    found = sampling.pixels(levels)
    assert found.dtype == np.uint8 and found.shape == (1, 1, 5, 3)
    assert found[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("seeds", [[3], [3, 9]])
def test_a_picture_does_not_depend_on_what_is_drawn_beside_it(seeds: list[int]) -> None:
    told = Told(*(array[:, : len(seeds)] for array in (TOLD.keys, TOLD.values)), TOLD.seen[: len(seeds)])
    noise = sampling.noise(seeds, 1, PLACES, WORDS)
    found = sampling.tell(Model([1, 0, 2, 0]), told, None, noise, guidance=1)
    assert found[0].tolist() == (noise[0] + np.array([1, 0, 2, 0])).argmax(1).tolist()
