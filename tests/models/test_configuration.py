"""What a model is, is written out whole and refused when unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support import backbones
from vlp.models.configuration import ModelParams, VLPConfig
from vlp.params import ParamsError, parse


def _config(**values: Any) -> VLPConfig:
    numbers = {"vocab_size": 30, "image_size": 32, "pad_token_id": 0, **values}
    return VLPConfig.from_params(backbones.params(), **numbers)


def _fusion(**fusion: Any) -> ModelParams:
    return parse(
        ModelParams, {"image": backbones.IMAGE, "text": backbones.TEXT, "fusion": fusion}, "params.yaml: model"
    )


def test_a_config_is_the_same_after_a_round_trip(tmp_path: Path) -> None:
    config = _config()
    config.save_pretrained(tmp_path)
    loaded = VLPConfig.from_pretrained(tmp_path)
    assert loaded.params() == config.params()
    assert (loaded.vocab_size, loaded.image_size, loaded.pad_token_id) == (30, 32, 0)
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "config.json").read_bytes() == (tmp_path / "config.json").read_bytes()


def test_a_saved_config_writes_every_default_out(tmp_path: Path) -> None:
    _config().save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["image"]["mean"] == [0.485, 0.456, 0.406]
    assert saved["fusion"] == {
        "name": "cross_attention",
        "self_attention": True,
        "counting_heads": 0,
        **backbones.FUSIONS["cross_attention"],
    }
    assert saved["model_type"] == "vlp"


def test_a_config_keeps_no_path_of_published_weights() -> None:
    config = VLPConfig.from_params(
        backbones.params(weights="here/resnet.pth"), vocab_size=30, image_size=32, pad_token_id=0
    )
    assert config.image["weights"] is None


def test_an_unknown_key_of_a_saved_config_is_refused(tmp_path: Path) -> None:
    _config().save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**saved, "vocabsize": 3}))
    with pytest.raises(ParamsError, match=r"config\.json: vocabsize: unknown key"):
        VLPConfig.from_pretrained(tmp_path)


def test_an_unknown_key_inside_a_saved_section_is_refused(tmp_path: Path) -> None:
    _config().save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    saved["text"]["depth"] = 3
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(ParamsError, match=r"config\.json: text\.depth: unknown key"):
        VLPConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vocab_size": 0}, "vocab_size: expected an integer of at least 1, found 0"),
        ({"vocab_size": 30.0}, r"vocab_size: expected an integer of at least 1, found 30\.0"),
        ({"image_size": -1}, "image_size: expected an integer of at least 1"),
        ({"pad_token_id": 30}, "pad_token_id: 30 is outside vocab_size 30"),
    ],
)
def test_impossible_numbers_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        _config(**values)


def test_a_fusion_is_checked_by_its_own_params() -> None:
    good = backbones.FUSIONS["cross_attention"]
    with pytest.raises(ParamsError, match=r"fusion: cross_attention: layerz: unknown key; did you mean 'layers'\?"):
        _fusion(name="cross_attention", **good, layerz=1)
    with pytest.raises(ParamsError, match="fusion: cross_attention: hidden 20 is not a multiple of heads 3"):
        _fusion(name="cross_attention", **{**good, "heads": 3})
    with pytest.raises(ParamsError, match="fusion: transformer: heads: missing"):
        _fusion(name="transformer", hidden=16, layers=1, mlp_ratio=2.0, dropout=0.0)


def test_an_unknown_fusion_lists_those_there_are() -> None:
    with pytest.raises(ParamsError, match=r"did you mean 'film'\? there is concat_mlp, cross_attention, film, transf"):
        _fusion(name="flim", hidden=16)
    with pytest.raises(
        ParamsError, match="fusion: name: missing; one of concat_mlp, cross_attention, film, transformer"
    ):
        _fusion(hidden=16)
