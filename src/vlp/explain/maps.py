"""Heat maps of a subject: how much each place of the image grid speaks for what was said.

``gradcam``: the encoder's last channels, each by the mean of its gradient. Source: Selvaraju et al. 2017,
https://arxiv.org/abs/1610.02391
``attention``: where the text's tokens look, the mean over layers and heads. It is the same whatever is said of what was
seen. Source: Xu et al. 2015, https://arxiv.org/abs/1502.03044
``gradient_attention``: the same looks, each by its gradient, what speaks against left out, summed. Sources: the maps of
Li et al. 2021 (ALBEF), https://arxiv.org/abs/2107.07651, and over all layers Chefer et al. 2021,
https://arxiv.org/abs/2103.15679
``occlusion``: what the logit loses when a window is painted over. Source: ``vlp.runtime.explain``
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from vlp.explain.methods import Method
from vlp.explain.subjects import Look, Subject, pictures
from vlp.runtime.explain import occlusion as occluded


class ExplainError(ValueError):
    """A map that a model of this kind does not have."""


def heat(subject: Subject, pixels: np.ndarray, method: Method) -> np.ndarray:
    """The map, float32 [rows, columns]: the grid's, or for occlusion its own; above zero speaks for what was said.

    Args:
        subject: what was said of the picture.
        pixels: uint8 [S, S, 3].
        method: how.

    Raises:
        ExplainError: the model has no attention over places.
    """
    return _METHODS[method](subject, pixels)


def gradcam(subject: Subject, pixels: np.ndarray) -> np.ndarray:
    """As above; what speaks against is left out."""
    grid = _grid(subject, pixels)
    logit, _ = subject.inside(grid)
    (gradient,) = torch.autograd.grad(logit.sum(), grid)
    return _shaped(subject, (grid * gradient.mean(1, keepdim=True)).sum(2).relu()[0])


def attention(subject: Subject, pixels: np.ndarray) -> np.ndarray:
    """As above."""
    _, looks = subject.inside(_grid(subject, pixels))
    return _shaped(
        subject, torch.stack([_tokens(subject, look.of(look.whole)) for look in _some(looks)]).mean((0, 1, 2))
    )


def gradient_attention(subject: Subject, pixels: np.ndarray) -> np.ndarray:
    """As above."""
    logit, looks = subject.inside(_grid(subject, pixels))
    # Of a layer that the answer does not hang on there is no gradient.
    slopes = torch.autograd.grad(logit.sum(), [look.whole for look in _some(looks)], allow_unused=True)
    found = [
        look.of(look.whole * slope).relu().sum((0, 1))
        for look, slope in zip(looks, slopes, strict=True)
        if slope is not None
    ]
    if not found:
        raise ExplainError("this answer does not hang on where the text looks; take gradcam or occlusion")
    return _shaped(subject, torch.stack(found).sum(0))


def occlusion(subject: Subject, pixels: np.ndarray) -> np.ndarray:
    """As above."""

    @torch.no_grad()
    def score(images: np.ndarray) -> np.ndarray:
        return subject.logit(pictures(images)).numpy()

    return occluded(pixels, score)[1]


_METHODS: dict[Method, Callable[[Subject, np.ndarray], np.ndarray]] = {
    "gradcam": gradcam,
    "attention": attention,
    "gradient_attention": gradient_attention,
    "occlusion": occlusion,
}
assert set(_METHODS) == set(get_args(Method))


def _grid(subject: Subject, pixels: np.ndarray) -> Tensor:
    with torch.no_grad():
        grid: Tensor = subject.task.model.image_encoder(pictures(pixels[None])).tokens
    return grid.detach().requires_grad_()


def _some(looks: tuple[Look, ...]) -> tuple[Look, ...]:
    if not looks:
        raise ExplainError("this fusion block has no attention over places; take gradcam or occlusion")
    return looks


def _tokens(subject: Subject, look: Tensor) -> Tensor:
    """[heads, l, P] of [heads, L, P]: the tokens that count."""
    return look if subject.token is None else look[:, subject.token : subject.token + 1]


def _shaped(subject: Subject, places: Tensor) -> np.ndarray:
    rows, columns = subject.task.model.grid
    return places.detach().reshape(rows, columns).numpy().astype(np.float32)
