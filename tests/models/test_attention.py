"""Attention written out equals torch's own."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from vlp.models.attention import (
    Attention,
    Counting,
    CrossAttention,
    GridEmbedding,
    SelfAttention,
    mask_bias,
    split_heads,
)


def test_attention_equals_torchs_fused_kernel() -> None:
    query, key, value = (torch.randn(2, 4, length, 8) for length in (5, 7, 7))
    mask = torch.tensor([[1] * 7, [1, 1, 1, 0, 0, 0, 0]])
    ours, _ = Attention(32, 4, 0.0)(query, key, value, mask_bias(mask, torch.float32))
    theirs = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None].bool())
    torch.testing.assert_close(ours, theirs.transpose(1, 2).flatten(2))


def test_the_map_says_where_each_token_looked() -> None:
    _, attention = SelfAttention(8, 2, 0.0)(torch.randn(3, 5, 8), mask_bias(torch.ones(3, 5), torch.float32))
    assert attention.shape == (3, 2, 5, 5)
    torch.testing.assert_close(attention.sum(-1), torch.ones(3, 2, 5))


def test_masked_keys_count_for_nothing() -> None:
    attention = SelfAttention(8, 2, 0.0)
    tokens, mask = torch.randn(1, 5, 8), torch.tensor([[1, 1, 1, 0, 0]])
    bias = mask_bias(mask, torch.float32)
    changed = tokens.clone()
    changed[:, 3:] = 100.0
    torch.testing.assert_close(attention(tokens, bias)[0][:, :3], attention(changed, bias)[0][:, :3])


def test_a_text_without_a_token_stays_a_number() -> None:
    bias = mask_bias(torch.zeros(1, 5, dtype=torch.int64), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert SelfAttention(8, 2, 0.0)(torch.randn(1, 5, 8), bias)[0].isfinite().all()


def test_texts_that_share_an_image_row_get_what_copies_of_it_give() -> None:
    attention, texts, image = CrossAttention(8, 2, 0.0), torch.randn(6, 5, 8), torch.randn(2, 9, 8)
    shared, _ = attention(texts, *attention.memory(image))
    copied, _ = attention(texts, *attention.memory(image.repeat_interleave(3, dim=0)))
    torch.testing.assert_close(shared, copied)


def test_heads_are_consecutive_channels() -> None:
    x = torch.arange(2 * 3 * 8).view(2, 3, 8)
    first, second = split_heads(x, parts=2, heads=2)
    assert torch.equal(first[1, 0], x[1, :, 0:2])
    assert torch.equal(second[1, 1], x[1, :, 6:8])


def test_every_place_of_the_grid_has_its_own_embedding() -> None:
    embedding = GridEmbedding(4, 6, (3, 5))
    places = embedding(torch.zeros(1, 15, 4))[0]
    assert len(places.detach().unique(dim=0)) == 15


def test_counting_tells_three_from_one_where_an_average_cannot() -> None:
    counting = Counting(4, heads=1, size=4)
    with torch.no_grad():
        for projection in (counting.query, counting.key):
            projection.weight.copy_(torch.eye(4) * 5)
            projection.bias.zero_()
        counting.output.weight.normal_()
    star, ground = torch.eye(4)[0], torch.eye(4)[1]
    one, three = torch.stack([star, *[ground] * 5]), torch.stack([star, star, star, *[ground] * 3])
    images, token = torch.stack([one, three]), star.expand(2, 1, 4)
    told, gates = counting(token, counting.memory(images))
    torch.testing.assert_close(gates.sigmoid().sum(-1).flatten(), torch.tensor([1.0, 3.0]), atol=0.1, rtol=0)
    assert not torch.allclose(told[0], told[1])


def test_counting_adds_nothing_at_the_start_and_shares_an_images_row() -> None:
    counting = Counting(8, heads=2, size=4)
    tokens, key = torch.randn(6, 5, 8), counting.memory(torch.randn(2, 9, 8))
    assert not counting(tokens, key)[0].any()
    torch.nn.init.normal_(counting.output.weight)
    copies = key.repeat_interleave(3, dim=0)
    for shared, alone in zip(counting(tokens, key), counting(tokens, copies), strict=True):
        torch.testing.assert_close(shared, alone)
