"""The field's tutorial model is one configuration of this one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import resnet50
from transformers import BertConfig, BertModel

from vlp.models.configuration import ModelParams
from vlp.models.features import ImageFeatures, TextFeatures
from vlp.models.fusion.concat_mlp import Fusion, Params
from vlp.models.modeling import VLPModel
from vlp.params import parse

FULL_SIZE = {
    "image": {"architecture": "resnet50"},
    "text": {"hidden": 768, "layers": 12, "heads": 12, "intermediate": 3072, "max_positions": 512, "dropout": 0.1},
    "fusion": {"name": "concat_mlp", "hidden": [512], "dropout": 0.1},
}


def test_it_is_concatenation_linear_relu_dropout() -> None:
    fusion = Fusion(Params(hidden=(5,), dropout=0.1), image_width=3, text_width=4, grid=(1, 1))
    assert [type(layer) for layer in fusion.mlp] == [nn.Linear, nn.ReLU, nn.Dropout]
    image = ImageFeatures(tokens=torch.zeros(2, 1, 3), pooled=torch.randn(2, 3))
    text = TextFeatures(tokens=torch.zeros(2, 6, 4), pooled=torch.randn(2, 4))
    fused = fusion.eval()(text, torch.ones(2, 6), image)
    both = torch.cat([image.pooled, text.pooled], dim=1)
    linear = fusion.mlp[0]
    assert isinstance(linear, nn.Linear)
    torch.testing.assert_close(fused.pooled, (both @ linear.weight.T + linear.bias).relu())
    assert fused.tokens is None


def test_layers_have_the_widths_asked_for() -> None:
    fusion = Fusion(Params(hidden=(6, 5), dropout=0.0), image_width=3, text_width=4, grid=(1, 1))
    shapes = [tuple(layer.weight.shape) for layer in fusion.mlp if isinstance(layer, nn.Linear)]
    assert shapes == [(6, 7), (5, 6)]
    assert fusion.width == 5


@pytest.mark.slow
def test_resnet50_and_bert_base_from_published_files_are_the_tutorial_model(tmp_path: Path) -> None:
    """ResNet-50, BERT-base, concatenation, MLP, one logit, binary cross-entropy: written out, and as params."""
    resnet, bert = resnet50(weights=None), BertModel(BertConfig())
    torch.save(resnet.state_dict(), tmp_path / "resnet50.pth")
    bert.save_pretrained(tmp_path / "bert-base")
    sections = {
        **FULL_SIZE,
        "image": {"architecture": "resnet50", "weights": str(tmp_path / "resnet50.pth")},
        "text": {**FULL_SIZE["text"], "weights": str(tmp_path / "bert-base")},  # type: ignore[dict-item]
    }
    params = parse(ModelParams, sections, "test")
    model = VLPModel.from_params(params, vocab_size=30522, image_size=224, pad_token_id=0).eval()
    head = nn.Linear(512, 1)
    resnet.fc = nn.Identity()
    tutorial = nn.Sequential(*model.fusion.mlp, head).eval()

    images = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    ids, target = torch.randint(1, 30522, (2, 12)), torch.tensor([1.0, 0.0])
    mask = torch.ones_like(ids)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        pixels = ((images / 255 - mean) / std).permute(0, 3, 1, 2)
        pooled = bert.eval()(input_ids=ids, attention_mask=mask).pooler_output
        expected = tutorial(torch.cat([resnet.eval()(pixels), pooled], dim=1))[:, 0]
        fused = model.fuse(model.encode_text(ids, mask), mask, model.encode_image(images))
        found = head(fused.pooled)[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    loss = nn.functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(loss(found, target), loss(expected, target), atol=1e-3, rtol=1e-3)
    assert sum(p.numel() for p in model.parameters()) == 25_557_032 - 2_049_000 + 109_482_240 + 2816 * 512 + 512
