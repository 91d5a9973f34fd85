"""A layer of the decoder that took over a fusion block computes what the block computes."""

from __future__ import annotations

import pytest
import torch

from support import models, scenes
from vlp.data.loading import Prepared
from vlp.models.attention import mask_bias
from vlp.models.fusion.cross_attention import Block
from vlp.tasks.captioning.decoder import Decoder, DecoderParams
from vlp.tasks.captioning.warm_start import from_backbone


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(scenes.prepare(tmp_path_factory.mktemp("prepared"), 10))


def decoder(prepared: Prepared, layers: int, hidden: int = 32) -> Decoder:
    params = DecoderParams(hidden=hidden, layers=layers, heads=2, intermediate=64)
    return Decoder(params, prepared.vocabulary_size, 32, image_width=128, grid=(8, 8)).eval()


@pytest.mark.parametrize("layers", [1, 3])
def test_the_last_layers_are_the_fusion_blocks(prepared: Prepared, layers: int) -> None:
    model = models.model(prepared).eval()
    made = decoder(prepared, layers)
    filled = from_backbone(made, model)
    assert sum(name.endswith("crossattention.c_attn.weight") for name in filled) == 1
    block = model.fusion.blocks[0]
    assert isinstance(block, Block)
    grid, text = torch.randn(2, 64, model.image_width), torch.randn(2, 1, 32)
    with torch.no_grad():
        image = model.fusion.image_embedding(grid)
        torch.testing.assert_close(made.image(grid), image)
        # One token sees nothing but itself, so that causal and full attention are the same.
        expected, _, _ = block(text, mask_bias(torch.ones(2, 1), text.dtype), *block.cross_attention.memory(image))
        found = made.language_model.transformer.h[-1](text, None, None, image)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    words = model.get_input_embeddings().weight
    assert torch.equal(made.language_model.get_input_embeddings().weight, words)


def test_what_has_another_shape_stays_as_it_is(prepared: Prepared) -> None:
    made = decoder(prepared, 1, hidden=16)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    filled = from_backbone(made, models.model(prepared))
    assert not [name for name in filled if "attn" in name]
    changed = {name for name, tensor in made.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed <= set(filled)
