"""The text encoder is transformers' BERT, and loads it as published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForPreTraining, BertModel

from vlp.models.text_encoder import TextEncoder, TextEncoderParams
from vlp.models.weights import WeightsError
from vlp.params import ParamsError, parse

SIZES = {"hidden": 16, "layers": 2, "heads": 4, "intermediate": 32, "max_positions": 20, "dropout": 0.1}
VOCABULARY = 40


def _encoder(*, pooler: bool = True, **values: Any) -> TextEncoder:
    params = parse(TextEncoderParams, {**SIZES, **values}, "test: text")
    return TextEncoder(params, VOCABULARY, 0, pooler=pooler).eval()


def _bert_config() -> BertConfig:
    return BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=20,
    )


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder as BERT's authors published it: BertForPreTraining's tensors."""
    BertForPreTraining(_bert_config()).save_pretrained(tmp_path)
    return tmp_path


def _texts() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(1, VOCABULARY, (3, 9))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return ids, mask


def _check_equals_bert(encoder: TextEncoder, bert: BertModel) -> None:
    ids, mask = _texts()
    with torch.no_grad():
        ours, theirs = encoder(ids, mask), bert.eval()(input_ids=ids, attention_mask=mask)
    torch.testing.assert_close(ours.tokens, theirs.last_hidden_state)
    torch.testing.assert_close(ours.pooled, theirs.pooler_output)


def test_weights_of_bert_for_pre_training_give_berts_own_output(published: Path) -> None:
    encoder = _encoder()
    encoder.load_published(published)
    _check_equals_bert(encoder, BertModel.from_pretrained(published))


def test_weights_of_bert_model_give_its_own_output(tmp_path: Path) -> None:
    bert = BertModel(_bert_config())
    bert.save_pretrained(tmp_path)
    encoder = _encoder()
    encoder.load_published(tmp_path)
    _check_equals_bert(encoder, bert)


def test_the_first_published_files_are_read_too(published: Path) -> None:
    """pytorch_model.bin with TensorFlow's norm names and stored position numbers."""
    tensors = load_file(published / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    torch.save({**old, "bert.embeddings.position_ids": torch.arange(20)[None]}, published / "pytorch_model.bin")
    expected = BertModel.from_pretrained(published)
    (published / "model.safetensors").unlink()
    encoder = _encoder()
    encoder.load_published(published)
    _check_equals_bert(encoder, expected)


def test_without_a_pooler_pooled_is_the_first_tokens_state(published: Path) -> None:
    encoder = _encoder(pooler=False)
    encoder.load_published(published)
    features = encoder(*_texts())
    assert torch.equal(features.pooled, features.tokens[:, 0])
    assert not [name for name, _ in encoder.named_parameters() if "pooler" in name]


def test_another_vocabulary_or_size_is_named(published: Path) -> None:
    encoder = TextEncoder(parse(TextEncoderParams, {**SIZES, "heads": 2}, "test"), 41, 0, pooler=True)
    with pytest.raises(WeightsError, match=r"vocab_size 40 for 41, num_attention_heads 4 for 2$"):
        encoder.load_published(published)


def test_another_activation_is_named(published: Path) -> None:
    config = json.loads((published / "config.json").read_text())
    (published / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    with pytest.raises(WeightsError, match="hidden_act 'relu' for 'gelu'"):
        _encoder().load_published(published)


@pytest.mark.parametrize("content", ["{", "[]", '{"hidden_size": "many"}'])
def test_a_configuration_that_is_none_is_named(published: Path, content: str) -> None:
    (published / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"config\.json: "):
        _encoder().load_published(published)


def test_a_missing_and_an_unknown_tensor_are_named(published: Path) -> None:
    tensors = load_file(published / "model.safetensors")
    del tensors["bert.pooler.dense.bias"]
    tensors["bert.extra"] = torch.zeros(1)
    save_file(tensors, published / "model.safetensors")
    with pytest.raises(WeightsError, match=r"1 missing: pooler\.dense\.bias; 1 unexpected: extra$"):
        _encoder().load_published(published)


def test_a_folder_without_weights_or_configuration_is_named(published: Path, tmp_path: Path) -> None:
    (published / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        _encoder().load_published(published)
    with pytest.raises(WeightsError, match=r"config\.json: no such file"):
        _encoder().load_published(tmp_path / "elsewhere")


def test_padding_does_not_change_a_text() -> None:
    encoder, (ids, mask) = _encoder(), _texts()
    alone = encoder(ids[1:2, :5], mask[1:2, :5])
    torch.testing.assert_close(encoder(ids, mask).tokens[1:2, :5], alone.tokens, atol=1e-5, rtol=1e-5)


def test_both_ways_of_attention_agree(published: Path) -> None:
    eager, fused = _encoder(attention="eager"), _encoder(attention="sdpa")
    for encoder in (eager, fused):
        encoder.load_published(published)
    assert eager.bert.config._attn_implementation == "eager"
    assert fused.bert.config._attn_implementation == "sdpa"
    texts = _texts()
    torch.testing.assert_close(eager(*texts).pooled, fused(*texts).pooled, atol=1e-5, rtol=1e-5)


def test_a_text_longer_than_the_positions_is_refused() -> None:
    with pytest.raises(ValueError, match="21 tokens, but max_positions is 20"):
        _encoder()(torch.ones(1, 21, dtype=torch.int64), torch.ones(1, 21, dtype=torch.int64))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ParamsError, match="hidden 16 is not a multiple of heads 3"):
        _encoder(heads=3)
