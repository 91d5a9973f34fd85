"""The image encoder: any torchvision ResNet, cut and dilated so that a token grid survives small images.

Sources: He et al. 2016, https://arxiv.org/abs/1512.03385; dilation in place of stride: Yu et al. 2017,
https://arxiv.org/abs/1705.09914, as torchvision's ``replace_stride_with_dilation`` does it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision import models as torchvision_models
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from vlp.models.features import ImageFeatures
from vlp.models.weights import load_exactly, read_tensors
from vlp.params import Section

BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}
Unit = Annotated[float, Field(ge=0, le=1)]


class ImageEncoderParams(Section):
    """``model.image`` of params.yaml."""

    architecture: str = Field(description="a ResNet of torchvision.models (resnet18, resnet50, …), or custom")
    layers: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(), max_length=4, description="blocks of each stage; custom only, which then has as many stages"
    )
    block: Literal["basic", "bottleneck"] | None = Field(
        default=None, description="kind of block; custom only, basic unless said otherwise"
    )
    stages: int | None = Field(
        default=None, ge=1, le=4, description="stages kept, from the stem on, 4 if null; not with custom"
    )
    stem: Literal["standard", "small"] = Field(
        default="standard", description="standard: 7×7 stride 2 and max-pool (stride 4); small: 3×3 stride 2"
    )
    output_stride: Literal[2, 4, 8, 16, 32] | None = Field(
        default=None, description="pixels a token is wide; smaller than the stages make it: dilation instead of stride"
    )
    weights: str | None = Field(default=None, description="a state_dict of torchvision's: .pth or .safetensors")
    mean: tuple[Unit, Unit, Unit] = Field(default=(0.485, 0.456, 0.406), description="of RGB in 0–1; ImageNet's")
    std: tuple[Unit, Unit, Unit] = Field(default=(0.229, 0.224, 0.225), description="of RGB in 0–1; ImageNet's")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.architecture == "custom") != bool(self.layers):
            raise ValueError("layers belongs to architecture: custom, and custom needs it")
        if self.architecture != "custom" and self.block is not None:
            raise ValueError("block belongs to architecture: custom")
        if self.architecture == "custom" and self.stages is not None:
            raise ValueError("stages does not go with architecture: custom, which has as many as layers")
        if self.architecture != "custom" and self.architecture not in architectures():
            raise ValueError(f"architecture {self.architecture!r} is none of {', '.join(architectures())}, custom")
        if min(self.std) == 0:
            raise ValueError("std must be above 0")
        least, most = self.stem_stride, self.stem_stride * 2 ** (self.kept_stages - 1)
        if not least <= self.stride <= most:
            raise ValueError(f"output_stride must lie in {least}–{most} for this stem and these stages")
        return self

    @property
    def kept_stages(self) -> int:
        """Stages of the network that is built."""
        return len(self.layers) or self.stages or 4

    @property
    def stem_stride(self) -> int:
        """Pixels that one place after the stem stands for."""
        return 4 if self.stem == "standard" else 2

    @property
    def stride(self) -> int:
        """Pixels a token is wide."""
        return self.output_stride or self.stem_stride * 2 ** (self.kept_stages - 1)


def architectures() -> list[str]:
    """The names of torchvision's ResNets, ResNeXts and wide ResNets, sorted."""
    return sorted(torchvision_models.list_models(include=["resnet*", "resnext*", "wide_resnet*"]))


class ImageEncoder(nn.Module):
    """uint8 pixels to a grid of tokens and their mean.

    Args:
        params: which network, how far, and the normalisation.
        image_size: side S of the images in pixels.

    Attributes:
        width: channels Dv of the last map, of ``tokens`` and of ``pooled``.
        grid: rows and columns of tokens; P is their product.
    """

    def __init__(self, params: ImageEncoderParams, image_size: int) -> None:
        super().__init__()
        self.params = params
        self.image_size = image_size
        side = -(-image_size // params.stride)
        self.grid = (side, side)
        self.resnet = _trunk(params)
        self.width = _channels(self.resnet, params.kept_stages)
        # One multiply-add from uint8 to a normalised float. Not saved: the configuration holds mean and std.
        self.register_buffer("scale", torch.empty(3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.empty(3, 1, 1), persistent=False)
        self.scale: Tensor
        self.shift: Tensor
        self.reset_buffers()

    @torch.no_grad()
    def reset_buffers(self) -> None:
        """Fill the buffers that no checkpoint holds; loading by way of the meta device needs it again."""
        mean = torch.tensor(self.params.mean, dtype=torch.float64).view(3, 1, 1)
        std = torch.tensor(self.params.std, dtype=torch.float64).view(3, 1, 1)
        self.scale.copy_(1 / (255 * std))
        self.shift.copy_(-mean / std)

    def forward(self, images: Tensor) -> ImageFeatures:
        """Encode.

        Args:
            images: uint8 [B, S, S, 3].

        Returns:
            ``tokens`` [B, P, Dv] row by row and ``pooled`` [B, Dv].

        Raises:
            ValueError: another type or shape.
        """
        return self.features(self.resnet(self.pixels(images)))

    def pixels(self, images: Tensor) -> Tensor:
        """Normalised floats [B, 3, S, S] of uint8 [B, S, S, 3].

        Raises:
            ValueError: another type or shape.
        """
        if images.dtype != torch.uint8 or images.shape[1:] != (self.image_size, self.image_size, 3):
            wanted = f"uint8 [B, {self.image_size}, {self.image_size}, 3]"
            raise ValueError(f"images: expected {wanted}, found {images.dtype} {list(images.shape)}")
        # Permuting the NHWC bytes IS channels_last, the layout that convolutions in bf16 want.
        return torch.addcmul(self.shift, images.permute(0, 3, 1, 2).to(self.scale.dtype), self.scale)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """The network's last map of each size, finest first: what a dense head takes its detail from.

        Args:
            pixels: as of ``pixels``.

        Returns:
            [B, C, h, w] each, ``pixels`` the first; ``features`` of the last is what ``forward`` gives.
        """
        found = {pixels.shape[2:]: pixels}
        for part in self.resnet.children():
            pixels = part(pixels)
            found[pixels.shape[2:]] = pixels
        return list(found.values())

    @staticmethod
    def features(grid_map: Tensor) -> ImageFeatures:
        """The tokens of the network's last map [B, Dv, h, w], row by row, and their mean."""
        tokens = grid_map.flatten(2).transpose(1, 2)
        return ImageFeatures(tokens=tokens, pooled=tokens.mean(dim=1))

    def load_published(self, path: Path) -> None:
        """Fill the network from a state_dict in torchvision's format.

        ``fc.*`` (the ImageNet classifier) and the stages beyond those kept are left out; every other
        tensor must fit. Files of before 2018 do not count their norms' batches, and later ones were trained from them.

        Raises:
            WeightsError: it does not.
        """
        left_out = ("fc.", *(f"layer{stage}." for stage in range(self.params.kept_stages + 1, 5)))
        counts = {name: each for name, each in self.resnet.state_dict().items() if name.endswith("num_batches_tracked")}
        tensors = {name: tensor for name, tensor in read_tensors(path).items() if not name.startswith(left_out)}
        load_exactly(self.resnet, {**counts, **tensors}, str(path))


def _trunk(params: ImageEncoderParams) -> nn.Sequential:
    """The network of torchvision without classifier and stages not kept, under torchvision's names."""
    if params.architecture == "custom":
        layers = [*params.layers, *[1] * (4 - len(params.layers))]
        network = ResNet(BLOCKS[params.block or "basic"], layers, num_classes=1)
    else:
        network = torchvision_models.get_model(params.architecture, weights=None)
    trunk = nn.Sequential()
    trunk.add_module("conv1", network.conv1 if params.stem == "standard" else _small_stem())
    trunk.add_module("bn1", network.bn1)
    trunk.add_module("relu", network.relu)
    if params.stem == "standard":
        trunk.add_module("maxpool", network.maxpool)
    stride, dilation = params.stem_stride, 1
    for number in range(1, params.kept_stages + 1):
        stage = getattr(network, f"layer{number}")
        if number > 1 and stride == params.stride:
            _dilate(stage, dilation)
            dilation *= 2
        elif number > 1:
            stride *= 2
        trunk.add_module(f"layer{number}", stage)
    return trunk


def _small_stem() -> nn.Conv2d:
    conv = nn.Conv2d(3, 64, kernel_size=3, stride=2, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _dilate(stage: nn.Module, dilation: int) -> None:
    """Trade the stage's stride for twice the dilation; the first block keeps what it has, as in torchvision.

    torchvision refuses this for BasicBlock at construction, though its convolutions take it as well.
    """
    for index, block in enumerate(stage.children()):
        step = dilation if index == 0 else 2 * dilation
        for conv in block.modules():
            if isinstance(conv, nn.Conv2d):
                conv.stride = (1, 1)
                if conv.kernel_size == (3, 3):
                    conv.dilation = conv.padding = (step, step)


def _channels(trunk: nn.Sequential, stages: int) -> int:
    last = list(trunk.get_submodule(f"layer{stages}").children())[-1]
    if isinstance(last, Bottleneck):
        return last.bn3.num_features
    assert isinstance(last, BasicBlock)
    return last.bn2.num_features
