"""The image encoder is torchvision's ResNet, cut and dilated as asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models as torchvision_models
from torchvision.transforms.v2.functional import normalize

from vlp.models.image_encoder import ImageEncoder, ImageEncoderParams, architectures
from vlp.models.weights import WeightsError
from vlp.params import ParamsError, parse


def _params(**values: Any) -> ImageEncoderParams:
    return parse(ImageEncoderParams, {"architecture": "resnet18", **values}, "test: image")


def _published(network: nn.Module, path: Path) -> nn.Module:
    """Write ``network`` as torchvision publishes weights, batch statistics off their starting point."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    save = save_file if path.suffix == ".safetensors" else torch.save
    save(network.state_dict(), path)
    return network.eval()


def _torchvision_map(network: nn.Module, images: Tensor, stages: int) -> Tensor:
    """What torchvision computes up to a stage, its own normalisation in front."""
    x = normalize(images.permute(0, 3, 1, 2) / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    for name in ["conv1", "bn1", "relu", "maxpool", *(f"layer{stage}" for stage in range(1, stages + 1))]:
        x = network.get_submodule(name)(x)
    return x


def _images(count: int, size: int) -> Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8)


def test_the_first_published_weights_count_no_batches_and_are_read_too(tmp_path: Path) -> None:
    network = _published(torchvision_models.resnet18(weights=None), tmp_path / "new.pth")
    old = {name: each for name, each in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    encoders = [ImageEncoder(_params(), 64).eval() for _ in range(2)]
    for encoder, name in zip(encoders, ("new.pth", "old.pth"), strict=True):
        encoder.load_published(tmp_path / name)
    new, found = (encoder.state_dict() for encoder in encoders)
    assert all(torch.equal(found[name], each) for name, each in new.items())


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("stages", [4, 3])
def test_published_weights_give_torchvisions_own_features(tmp_path: Path, ending: str, stages: int) -> None:
    path = tmp_path / f"resnet18.{ending}"
    network = _published(torchvision_models.resnet18(weights=None), path)
    encoder = ImageEncoder(_params(stages=stages), 64).eval()
    encoder.load_published(path)
    images = _images(2, 64)
    with torch.no_grad():
        features, expected = encoder(images), _torchvision_map(network, images, stages)
    torch.testing.assert_close(features.tokens, expected.flatten(2).transpose(1, 2), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features.pooled, network.avgpool(expected).flatten(1), atol=1e-4, rtol=1e-4)  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stride", "dilated"), [(32, [False] * 3), (16, [False, False, True]), (8, [False, True, True])]
)
def test_resnet50_is_dilated_as_torchvision_does_it(tmp_path: Path, stride: int, dilated: list[bool]) -> None:
    network = torchvision_models.resnet50(weights=None, replace_stride_with_dilation=dilated)
    _published(network, tmp_path / "resnet50.pth")
    encoder = ImageEncoder(_params(architecture="resnet50", output_stride=stride), 96).eval()
    encoder.load_published(tmp_path / "resnet50.pth")
    assert (encoder.width, encoder.grid) == (2048, (96 // stride, 96 // stride))
    images = _images(2, 96)
    with torch.no_grad():
        expected = _torchvision_map(network, images, 4)
        torch.testing.assert_close(encoder(images).tokens, expected.flatten(2).transpose(1, 2), atol=1e-3, rtol=1e-3)


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    tensors = torchvision_models.resnet18(weights=None).state_dict()
    del tensors["layer1.0.conv1.weight"]
    tensors["layer9.weight"] = torch.zeros(1)
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"1 missing: layer1\.0\.conv1\.weight; 1 unexpected: layer9\.weight$"):
        ImageEncoder(_params(), 64).load_published(tmp_path / "w.pth")


def test_a_small_stem_does_not_take_weights_of_the_standard_one(tmp_path: Path) -> None:
    torch.save(torchvision_models.resnet18(weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"of another shape: conv1\.weight \(64, 3, 7, 7\) for \(64, 3, 3, 3\)"):
        ImageEncoder(_params(stem="small"), 64).load_published(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("values", "size", "grid", "width"),
    [
        ({"stages": 2}, 64, 8, 128),
        ({"stages": 4, "output_stride": 8}, 64, 8, 512),
        ({"stages": 3, "stem": "small"}, 64, 8, 256),
        ({"architecture": "custom", "layers": [1, 1, 1], "output_stride": 8}, 64, 8, 256),
        ({"architecture": "custom", "layers": [1], "block": "bottleneck"}, 50, 13, 256),
        ({"stages": 4}, 65, 3, 512),
    ],
)
def test_the_grid_is_the_one_that_is_announced(values: dict[str, Any], size: int, grid: int, width: int) -> None:
    encoder = ImageEncoder(_params(**values), size).eval()
    features = encoder(_images(1, size))
    assert encoder.grid == (grid, grid)
    assert features.tokens.shape == (1, grid * grid, width)
    assert features.pooled.shape == (1, width)
    assert encoder.width == width


def test_tokens_run_row_by_row() -> None:
    """A square painted into one corner changes the tokens of that corner most."""
    encoder = ImageEncoder(_params(architecture="custom", layers=[1, 1]), 64).eval()
    images = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    images[1, 48:, :16] = 255  # the bottom left of the second
    tokens = encoder(images).tokens
    changed = (tokens[1] - tokens[0]).abs().sum(-1).view(8, 8)
    assert changed[6:, :2].mean() > 10 * changed[:2].mean()


def test_parameters_of_an_uncut_network_are_torchvisions() -> None:
    count = sum(parameter.numel() for parameter in ImageEncoder(_params(), 64).parameters())
    network = torchvision_models.resnet18(weights=None)
    expected = sum(value.numel() for name, value in network.named_parameters() if not name.startswith("fc."))
    assert count == expected


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(1, 64, 64, 3),
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
        torch.zeros(1, 32, 32, 3, dtype=torch.uint8),
    ],
)
def test_another_type_or_shape_of_images_is_refused(wrong: Tensor) -> None:
    encoder = ImageEncoder(_params(architecture="custom", layers=[1]), 64)
    with pytest.raises(ValueError, match=r"images: expected uint8 \[B, 64, 64, 3\]"):
        encoder(wrong)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"architecture": "resnet51"}, "'resnet51' is none of resnet101, "),
        ({"layers": [1, 1]}, "layers belongs to architecture: custom"),
        ({"architecture": "custom"}, "custom needs it"),
        ({"block": "basic"}, "block belongs to architecture: custom"),
        ({"architecture": "custom", "layers": [1], "stages": 1}, "stages does not go with architecture: custom"),
        ({"output_stride": 2}, "output_stride must lie in 4–32"),
        ({"stages": 2, "output_stride": 16}, "output_stride must lie in 4–8"),
        ({"std": [0.2, 0.0, 0.2]}, "std must be above 0"),
        ({"mean": [127.5, 127.5, 127.5]}, "less than or equal to 1"),
    ],
)
def test_an_impossible_encoder_is_one_clear_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        _params(**values)


def test_every_resnet_of_torchvision_is_known() -> None:
    assert {"resnet18", "resnet34", "resnet50", "resnet101", "wide_resnet50_2"} <= set(architectures())
