"""One stream: words and places see each other, and know what they are."""

from __future__ import annotations

import torch

from vlp.models.features import ImageFeatures, TextFeatures
from vlp.models.fusion.transformer import Fusion, Params


def _fusion() -> Fusion:
    params = Params(hidden=8, layers=2, heads=2, mlp_ratio=2.0, dropout=0.0)
    return Fusion(params, image_width=6, text_width=5, grid=(2, 3)).eval()


def test_the_first_word_sees_the_last_word_and_the_last_place() -> None:
    fusion, words = _fusion(), torch.randn(1, 4, 5, requires_grad=True)
    places = torch.randn(1, 6, 6, requires_grad=True)
    image = fusion.embed_image(ImageFeatures(tokens=places, pooled=torch.zeros(1, 6)))
    # A weighted sum: after the final norm the plain sum of a vector's channels does not depend on it.
    fused = fusion(TextFeatures(tokens=words, pooled=words[:, 0]), torch.ones(1, 4, dtype=torch.int64), image)
    (fused.pooled * torch.arange(8)).sum().backward()
    assert words.grad is not None
    assert places.grad is not None
    assert words.grad[0, -1].abs().sum() > 0
    assert places.grad[0, -1].abs().sum() > 0


def test_masked_words_are_not_seen_and_places_always_are() -> None:
    fusion, words, places = _fusion(), torch.randn(1, 4, 5), torch.randn(1, 6, 6)
    image = fusion.embed_image(ImageFeatures(tokens=places, pooled=torch.zeros(1, 6)))
    mask = torch.tensor([[1, 1, 0, 0]])
    changed = words.clone()
    changed[:, 2:] = 50.0
    first, second = (fusion(TextFeatures(tokens=some, pooled=some[:, 0]), mask, image) for some in (words, changed))
    torch.testing.assert_close(first.tokens[:, :2], second.tokens[:, :2])


def test_types_tell_words_from_places() -> None:
    fusion = _fusion()
    assert fusion.text_type.shape == fusion.image_type.shape == (8,)
    assert not torch.equal(fusion.text_type, fusion.image_type)


def test_where_words_look_is_the_part_of_their_look_that_goes_to_places() -> None:
    fusion, words = _fusion(), torch.randn(3, 4, 5)
    image = fusion.embed_image(ImageFeatures(tokens=torch.randn(3, 6, 6), pooled=torch.zeros(3, 6)))
    mask = torch.ones(3, 4, dtype=torch.int64)
    maps = fusion(TextFeatures(tokens=words, pooled=words[:, 0]), mask, image).attention
    assert [attention.shape for attention in maps] == [(3, 2, 4, 6)] * 2
    assert all(bool(((shares > 0) & (shares < 1)).all()) for shares in (attention.sum(-1) for attention in maps))
