"""The backbone as a whole, whichever block fuses it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertForPreTraining

from support import backbones, disks
from vlp.models.features import Fused
from vlp.models.modeling import VLPModel
from vlp.models.weights import WeightsError
from vlp.params import parse

every_fusion = pytest.mark.parametrize("fusion", list(backbones.FUSIONS))
with_tokens = pytest.mark.parametrize("fusion", ["cross_attention", "transformer"])


def _fuse(model: VLPModel, images: Tensor, ids: Tensor, mask: Tensor) -> Fused:
    """One image a text, or each image for equally many consecutive texts."""
    return model.fuse(model.encode_text(ids, mask), mask, model.encode_image(images))


@every_fusion
def test_widths_are_the_ones_announced(fusion: str) -> None:
    model, batch = backbones.backbone(fusion), backbones.batch()
    image = model.encode_image(batch.images)
    fused = model(batch)["texts"]
    assert model.grid == (4, 4)
    assert image.tokens.shape[:2] == (2, 16)
    assert image.pooled.shape == (2, model.image_width)
    assert model.encode_text(*backbones.texts(3)).pooled.shape == (3, model.text_width)
    assert fused.pooled.shape == (6, model.fused_width)
    assert (fused.tokens is None) == (fusion in {"concat_mlp", "film"})
    if fused.tokens is not None:
        assert fused.tokens.shape == (6, 7, model.fused_width)


@every_fusion
def test_every_parameter_learns_from_the_fused_vector(fusion: str) -> None:
    model, batch = backbones.backbone(fusion).train(), backbones.batch()
    fused = model(batch)["texts"]
    assert backbones.unused_parameters(model, fused.pooled.square().sum()) == []


@with_tokens
def test_every_parameter_learns_from_the_fused_tokens(fusion: str) -> None:
    model, batch = backbones.backbone(fusion).train(), backbones.batch()
    tokens = model(batch)["texts"].tokens
    assert tokens is not None
    assert backbones.unused_parameters(model, tokens.square().sum()) == []


def test_a_parameter_outside_the_loss_is_reported() -> None:
    model = backbones.backbone()
    loss = model.encode_text(*backbones.texts(2)).pooled.sum()
    assert "image_encoder.resnet.conv1.weight" in backbones.unused_parameters(model, loss)


@every_fusion
def test_sharing_image_rows_equals_copying_them(fusion: str) -> None:
    model, batch = backbones.backbone(fusion), backbones.batch()
    copied = dataclasses.replace(batch.texts["texts"], per_image=0)
    shared = model(batch)["texts"].pooled
    torch.testing.assert_close(shared, model(dataclasses.replace(batch, texts={"texts": copied}))["texts"].pooled)


@every_fusion
def test_features_without_memory_fuse_to_the_same(fusion: str) -> None:
    model, (ids, mask) = backbones.backbone(fusion), backbones.texts(4)
    text, image = model.encode_text(ids, mask), model.encode_image(backbones.images(2))
    bare = dataclasses.replace(image, memory=())
    torch.testing.assert_close(model.fuse(text, mask, image).pooled, model.fuse(text, mask, bare).pooled)


@every_fusion
def test_both_the_image_and_the_text_matter(fusion: str) -> None:
    model, images, (ids, mask) = backbones.backbone(fusion), backbones.images(2), backbones.texts(2)
    before = _fuse(model, images, ids, mask).pooled
    assert not torch.allclose(before, _fuse(model, images.flip(0), ids, mask).pooled)
    assert not torch.allclose(before, _fuse(model, images, ids.flip(0), mask).pooled)


@every_fusion
def test_padding_does_not_change_a_pair(fusion: str) -> None:
    model, images, (ids, mask) = backbones.backbone(fusion), backbones.images(2), backbones.texts(2)
    short = _fuse(model, images[1:], ids[1:, :5], mask[1:, :5]).pooled
    torch.testing.assert_close(_fuse(model, images, ids, mask).pooled[1:], short, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fusion", ["cross_attention", "film", "transformer"])
def test_where_something_stands_matters(fusion: str) -> None:
    """The same features in other places fuse to something else: relations can be learned."""
    model, (ids, mask) = backbones.backbone(fusion), backbones.texts(1)
    text = model.encode_text(ids, mask)
    image = model.image_encoder(backbones.images(1))
    mirrored = image.tokens.unflatten(1, model.grid).flip(2).flatten(1, 2)
    here = model.fuse(text, mask, model.fusion.embed_image(image))
    there = model.fuse(text, mask, model.fusion.embed_image(dataclasses.replace(image, tokens=mirrored)))
    assert not torch.allclose(here.pooled, there.pooled, atol=1e-5)


def test_a_full_disk_is_an_error_of_the_system_that_names_the_folder(tmp_path: Path) -> None:
    model = backbones.backbone("concat_mlp")
    with disks.full(), pytest.raises(OSError, match=rf"{tmp_path.name}: cannot be written \(.*File too large"):
        model.save_pretrained(tmp_path)


@every_fusion
def test_a_saved_model_answers_exactly_as_before(tmp_path: Path, fusion: str) -> None:
    model, batch = backbones.backbone(fusion), backbones.batch()
    model.train()(batch)  # moves the batch statistics off their start
    model.eval().save_pretrained(tmp_path)
    loaded = VLPModel.from_pretrained(tmp_path)
    assert torch.equal(loaded(batch)["texts"].pooled, model(batch)["texts"].pooled)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_saving_a_loaded_model_gives_the_same_bytes(tmp_path: Path) -> None:
    backbones.backbone().save_pretrained(tmp_path / "a")
    VLPModel.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_one_seed_gives_one_model() -> None:
    torch.manual_seed(3)
    first = backbones.backbone().state_dict()
    torch.manual_seed(3)
    second = backbones.backbone().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    backbones.backbone().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["fusion.norm.weight"]
    tensors["fusion.extra"] = torch.zeros(1)
    tensors["fusion.norm.bias"] = torch.zeros(7)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError) as caught:
        VLPModel.from_pretrained(tmp_path)
    message = str(caught.value)
    assert "1 missing: fusion.norm.weight" in message
    assert "1 unexpected: fusion.extra" in message
    assert "1 of another shape: fusion.norm.bias (7,) for (20,)" in message


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    model = backbones.backbone()
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"model\.safetensors"):
        VLPModel.from_pretrained(tmp_path)


def test_published_weights_named_in_params_are_loaded(tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=backbones.VOCABULARY,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    bert = BertForPreTraining(config)
    bert.save_pretrained(tmp_path)
    trained = backbones.backbone()
    torch.save(trained.image_encoder.resnet.state_dict(), tmp_path / "resnet.pth")
    plain = backbones.params("concat_mlp").model_dump(mode="json")
    plain["text"]["weights"], plain["image"]["weights"] = str(tmp_path), str(tmp_path / "resnet.pth")
    model = VLPModel.from_params(
        parse(type(backbones.params()), plain, "test"),
        vocab_size=backbones.VOCABULARY,
        image_size=backbones.SIZE,
        pad_token_id=0,
    )
    words = model.get_input_embeddings()
    assert isinstance(words, nn.Embedding)
    assert torch.equal(words.weight, bert.bert.embeddings.word_embeddings.weight)
    own = model.image_encoder.resnet.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in trained.image_encoder.resnet.state_dict().items())


@every_fusion
def test_bf16_autocast_stays_close_to_full_precision(fusion: str) -> None:
    model, batch = backbones.backbone(fusion), backbones.batch()
    full = model(batch)["texts"].pooled
    with torch.autocast("cpu", torch.bfloat16):
        half = model(batch)["texts"].pooled.float()
    torch.testing.assert_close(half, full, atol=0.1, rtol=0.1)
