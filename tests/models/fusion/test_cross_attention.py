"""Cross-attention: each text token asks the grid, and the others."""

from __future__ import annotations

import pytest
import torch

from support import backbones
from vlp.models.features import ImageFeatures, TextFeatures
from vlp.models.fusion.cross_attention import Fusion, Params


def _fusion(*, self_attention: bool = True, text_width: int = 8) -> Fusion:
    params = Params(hidden=8, layers=2, heads=2, mlp_ratio=2.0, dropout=0.0, self_attention=self_attention)
    return Fusion(params, image_width=6, text_width=text_width, grid=(2, 3)).eval()


def _features() -> tuple[TextFeatures, ImageFeatures]:
    text = TextFeatures(tokens=torch.randn(2, 5, 8), pooled=torch.randn(2, 8))
    return text, ImageFeatures(tokens=torch.randn(2, 6, 6), pooled=torch.randn(2, 6))


@pytest.mark.parametrize("self_attention", [True, False])
def test_words_see_each_other_only_through_self_attention(*, self_attention: bool) -> None:
    fusion, (text, image) = _fusion(self_attention=self_attention), _features()
    mask, embedded = torch.ones(2, 5), fusion.embed_image(image)
    changed = text.tokens.clone()
    changed[:, 4] = torch.randn(2, 8)
    first = fusion(text, mask, embedded).tokens
    second = fusion(TextFeatures(tokens=changed, pooled=text.pooled), mask, embedded).tokens
    assert torch.allclose(first[:, :4], second[:, :4]) != self_attention


def test_keys_and_values_are_made_once_an_image() -> None:
    fusion, (_, image) = _fusion(), _features()
    memory = fusion.embed_image(image).memory
    assert [tuple(part.shape) for part in memory] == [(2, 2, 6, 4)] * 4


def test_text_of_the_fused_width_is_not_projected() -> None:
    assert not [name for name, _ in _fusion().named_parameters() if "text_projection" in name]
    assert [name for name, _ in _fusion(text_width=5).named_parameters() if "text_projection" in name]


def test_where_each_word_looks_can_be_seen() -> None:
    """One map a layer, text, head and token over the 16 places of the grid, however the texts share their images."""
    model, (ids, mask) = backbones.backbone(), backbones.texts(4)
    image, text = model.encode_image(backbones.images(2)), model.encode_text(ids, mask)
    shared = model.fuse(text, mask, image).attention
    alone = model.fuse(text, mask, image.index(torch.tensor([0, 0, 1, 1]))).attention
    assert len(shared) == len(model.fusion.blocks)
    for one, other in zip(shared, alone, strict=True):
        assert one.shape == (4, 4, 7, 16)
        torch.testing.assert_close(one.sum(-1), torch.ones(4, 4, 7))
        torch.testing.assert_close(one, other)


def test_what_each_word_counts_can_be_seen() -> None:
    model, (ids, mask) = backbones.backbone("cross_attention, counting"), backbones.texts(4)
    text, image = model.encode_text(ids, mask), model.encode_image(backbones.images(2))
    gates = model.fuse(text, mask, image).gates
    assert [tuple(layer.shape) for layer in gates] == [(4, 2, 7, 16)] * len(model.fusion.blocks)
    assert backbones.backbone().fuse(text, mask, backbones.backbone().encode_image(backbones.images(2))).gates == ()
