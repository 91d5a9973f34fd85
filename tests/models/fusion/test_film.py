"""FiLM: the text scales and shifts what the convolutions see."""

from __future__ import annotations

import torch

from vlp.models.features import ImageFeatures, TextFeatures
from vlp.models.fusion.film import Fusion, Params


def _fusion() -> Fusion:
    return Fusion(Params(hidden=8, layers=2, dropout=0.0), image_width=6, text_width=4, grid=(2, 3)).eval()


def test_coordinates_run_from_minus_one_to_one() -> None:
    columns, rows = _fusion().coordinates[0]
    assert columns.tolist() == [[-1, 0, 1], [-1, 0, 1]]
    assert rows.tolist() == [[-1, -1, -1], [1, 1, 1]]


def test_a_text_that_says_nothing_leaves_the_norm_as_it_is() -> None:
    """Scale 1 and shift 0: the block is the residual block without a text."""
    block = _fusion().blocks[0]
    maps, coordinates = torch.randn(1, 8, 2, 3), _fusion().coordinates
    mixed = block.mix(torch.cat([maps, coordinates], dim=1)).relu()  # type: ignore[operator]
    expected = mixed + block.norm(block.conv(mixed)).relu()  # type: ignore[operator]
    torch.testing.assert_close(block(maps, coordinates, torch.ones(1, 8), torch.zeros(1, 8)), expected)


def test_the_modulation_is_one_scale_and_one_shift_a_channel_and_block() -> None:
    assert _fusion().modulation.out_features == 2 * 2 * 8


def test_only_the_pooled_text_and_the_grid_matter() -> None:
    fusion = _fusion()
    image = fusion.embed_image(ImageFeatures(tokens=torch.randn(2, 6, 6), pooled=torch.randn(2, 6)))
    pooled = torch.randn(2, 4)
    first = fusion(TextFeatures(tokens=torch.randn(2, 5, 4), pooled=pooled), torch.ones(2, 5), image)
    second = fusion(TextFeatures(tokens=torch.randn(2, 5, 4), pooled=pooled), torch.ones(2, 5), image)
    assert torch.equal(first.pooled, second.pooled)
    assert first.tokens is None
