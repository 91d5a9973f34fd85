"""The graphs of captioning: ``begin`` (pixels to the first step's logits and caches) and ``step`` (one token further).

Caches have the batch first, [B, layers, heads, places, d], so that a runtime can stack and split requests:
``past_key`` and ``past_value`` of the words, one place longer each step; ``image_key`` and ``image_value`` of the
image, where the decoder looks at it by cross-attention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, EncoderDecoderCache

from vlp.tasks.base import ExportPart

if TYPE_CHECKING:
    from vlp.tasks.captioning.task import Task

_PAST, _IMAGE = ("past_key", "past_value"), ("image_key", "image_value")
_BATCH = {0: "images"}


def export_parts(task: Task) -> dict[str, ExportPart]:
    """Both graphs, any number of images, captions of any length."""
    task.eval()
    size = task.prepared.image_size
    images = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    begin = _Begin(task)
    with torch.no_grad():
        first = begin(images)
        # Three places of words, so that no length looks special to the exporter.
        state = first[1:]
        for _ in range(2):
            state = (*_Step(task)(torch.zeros(2, 1, dtype=torch.int64), *state)[1:], *state[2:])
    names = (*_PAST, *(_IMAGE if len(state) > 2 else ()))
    dynamic = {name: _BATCH | ({3: "places"} if name in _PAST else {}) for name in names}
    return {
        "begin": ExportPart(
            module=begin, inputs={"images": images}, dynamic={"images": _BATCH}, outputs=("logits", *names)
        ),
        "step": ExportPart(
            module=_Step(task),
            inputs={"token": torch.zeros(2, 1, dtype=torch.int64), **dict(zip(names, state, strict=True))},
            dynamic={"token": _BATCH, **dynamic},
            outputs=("logits", "next_key", "next_value"),
        ),
    }


class _Begin(nn.Module):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        grid = self.task.model.image_encoder(images).tokens
        first = torch.full((grid.shape[0], 1), self.task.begin_id, dtype=torch.int64)
        logits, cache = self.task.decoder.begin(grid, first)
        if isinstance(cache, EncoderDecoderCache):
            return logits, *_stacked(cache.self_attention_cache), *_stacked(cache.cross_attention_cache)
        return logits, *_stacked(cache)


class _Step(nn.Module):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self.decoder = task.decoder

    def forward(
        self,
        token: Tensor,
        past_key: Tensor,
        past_value: Tensor,
        image_key: Tensor | None = None,
        image_value: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        past = _cache(past_key, past_value)
        cache: Cache = past
        if image_key is not None and image_value is not None:
            cache = EncoderDecoderCache(past, _cache(image_key, image_value))
        logits, _ = self.decoder.step(token, cache)
        key, value = _stacked(past)
        return logits, key, value


def _stacked(cache: Cache) -> tuple[Tensor, Tensor]:
    layers: list[Any] = list(cache.layers)
    return torch.stack([layer.keys for layer in layers], dim=1), torch.stack([layer.values for layer in layers], dim=1)


def _cache(key: Tensor, value: Tensor) -> DynamicCache:
    cache = DynamicCache()
    for keys, values in zip(key.unbind(1), value.unbind(1), strict=True):
        layer = DynamicLayer()
        layer.keys, layer.values = keys, values
        layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
        cache.layers.append(layer)
    return cache
