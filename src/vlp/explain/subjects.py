"""What is explained: one thing that a task said of one picture, as a logit of the picture's grid.

A ``Subject`` is all that a map or a test of it needs to know of a task: a statement is true (``statement``), an answer
is the right one (``answer``), a word stands in a caption (``words``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlp.models.attention import CrossAttention, SelfAttention
from vlp.models.features import ImageFeatures
from vlp.tasks.captioning import Task as Captioning
from vlp.tasks.matching import Task as Matching
from vlp.tasks.vqa import Task as Answering


@dataclass(frozen=True, slots=True)
class Look:
    """Where one layer's tokens looked: ``whole`` [1, heads, Q, K], as the layer used it, so that it has a gradient."""

    whole: Tensor
    rows: slice
    columns: slice

    def of(self, tensor: Tensor) -> Tensor:
        """The part of a tensor like ``whole`` that is of the text's tokens and the picture's places: [heads, L, P]."""
        return tensor[0, :, self.rows, self.columns]


Inside = tuple[Tensor, tuple[Look, ...]]
"""The logit [1], and the looks behind it, layer by layer."""


@dataclass(frozen=True, slots=True)
class Subject:
    """``said``: in words. ``task``: whose image encoder sees; in eval mode.

    ``inside`` maps the encoder's grid [1, P, Dv] to the logit and the attention behind it; ``logit``, ``probability``
    map pictures, uint8 [B, S, S, 3], to how much and how likely it is so, [B]. ``token``: the text token whose look
    counts; None where all do.
    """

    said: str
    task: Any
    inside: Callable[[Tensor], Inside]
    logit: Callable[[Tensor], Tensor]
    probability: Callable[[np.ndarray], np.ndarray]
    token: int | None = None


def statement(task: Matching, ids: np.ndarray) -> Subject:
    """That the text is true of the picture.

    Args:
        task: trained.
        ids: the text's tokens, int [L].
    """
    said = _ids(ids)

    def logits(images: Tensor) -> Tensor:
        return _in_parts(images, lambda some: task.logits(task.model.encode_image(some), *_repeated(said, len(some))))

    def inside(grid: Tensor) -> Inside:
        with _Fused(task.model.fusion, said.shape[1], grid.shape[1]) as fused:
            logit = task.logits(_embedded(task, grid), *_repeated(said, 1))
        return logit, fused.looks

    return Subject(
        said="true",
        task=task,
        inside=inside,
        logit=logits,
        probability=lambda images: logits(pictures(images)).sigmoid().numpy(),
    )


def answer(task: Answering, ids: np.ndarray, chosen: int) -> Subject:
    """That an answer is the right one.

    Args:
        task: trained.
        ids: the question's tokens, int [L].
        chosen: the answer's number.
    """
    said = _ids(ids)
    temperature = float(task.decision.get("temperature", 1.0))

    def every(images: Tensor) -> Tensor:
        return _in_parts(images, lambda some: task.logits(task.model.encode_image(some), *_repeated(said, len(some))))

    def margin(logits: Tensor) -> Tensor:
        """Against all other answers: what is added to all of them alike explains none."""
        others = logits.clone()
        others[:, chosen] = -torch.inf
        return logits[:, chosen] - others.logsumexp(1)

    def inside(grid: Tensor) -> Inside:
        with _Fused(task.model.fusion, said.shape[1], grid.shape[1]) as fused:
            logits = task.logits(_embedded(task, grid), *_repeated(said, 1))
        return margin(logits), fused.looks

    return Subject(
        said=task.answers[chosen],
        task=task,
        inside=inside,
        logit=lambda images: margin(every(images)),
        probability=lambda images: (every(pictures(images)) / temperature).softmax(1)[:, chosen].numpy(),
    )


def words(task: Captioning, ids: np.ndarray, names: list[str]) -> list[Subject]:
    """That each token of a caption follows those before it.

    Args:
        task: trained.
        ids: the caption's tokens from [CLS] to the last that is explained, int [L].
        names: each token's text behind the first, L − 1.
    """
    read, wanted = torch.from_numpy(np.asarray(ids[:-1], np.int64))[None], [int(token) for token in ids[1:]]

    def logits(grid: Tensor) -> Tensor:
        return task.decoder(grid, read.expand(len(grid), -1), torch.arange(len(grid))).float()

    def every(images: Tensor) -> Tensor:
        return logits(task.model.image_encoder(images).tokens)

    def chances(images: Tensor) -> Tensor:
        """[B, L]: of the wanted token at every place, not of the whole vocabulary."""
        own = torch.tensor(wanted)[None, :, None].expand(len(images), -1, -1)
        return every(images).softmax(2).gather(2, own).squeeze(2)

    remembered: dict[int, tuple[np.ndarray, Tensor]] = {}

    def probabilities(images: np.ndarray) -> Tensor:
        """Of every wanted token; pictures that one word was asked about serve the others, too."""
        known = remembered.get(id(images))
        if known is None or known[0] is not images:
            if len(remembered) > _REMEMBERED:
                remembered.clear()
            remembered[id(images)] = known = (images, _in_parts(pictures(images), chances))
        return known[1]

    def subject(place: int) -> Subject:
        token = wanted[place]

        def margin(found: Tensor) -> Tensor:
            row = found[:, place]
            others = row.clone()
            others[:, token] = -torch.inf
            return row[:, token] - others.logsumexp(1)

        def inside(grid: Tensor) -> Inside:
            with _Decoder(task.decoder.language_model, grid.shape[1]) as decoder:
                found = logits(grid)
            return margin(found), decoder.looks

        return Subject(
            said=names[place],
            task=task,
            inside=inside,
            logit=lambda images: _in_parts(images, lambda some: margin(every(some))),
            probability=lambda images: probabilities(images)[:, place].numpy(),
            token=place,
        )

    return [subject(place) for place in range(len(wanted))]


_AT_ONCE = 64
_REMEMBERED = 64


def _in_parts(images: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
    """``read`` of all images, some at a time: what it needs on the way is then bounded."""
    return torch.cat([read(some) for some in images.split(_AT_ONCE)])


def pictures(images: np.ndarray) -> Tensor:
    """As torch has them; what may not be written to is copied first."""
    return torch.from_numpy(np.require(images, requirements=["C", "W"]))


def _ids(ids: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(ids, np.int64))[None]


def _repeated(ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
    return ids.expand(count, -1), torch.ones_like(ids).expand(count, -1)


def _embedded(task: Any, grid: Tensor) -> ImageFeatures:
    """As the image encoder hands its grid on, and the fusion block takes it in."""
    embedded: ImageFeatures = task.model.fusion.embed_image(ImageFeatures(tokens=grid, pooled=grid.mean(1)))
    return embedded


class _Fused:
    """Listens to a fusion block: ``looks`` are those of its last pass, of text tokens at P places."""

    def __init__(self, module: nn.Module, length: int, places: int) -> None:
        crossed = [part for part in module.modules() if isinstance(part, CrossAttention)]
        # Where text and picture are one stream, the text stands first in it.
        mixed = [part for part in module.modules() if isinstance(part, SelfAttention)]
        self._cores = [part.attention for part in crossed or mixed]
        self._rows, self._columns = slice(0, length), slice(-places, None)
        self.looks: tuple[Look, ...] = ()

    def __enter__(self) -> _Fused:
        self._handles = [core.register_forward_hook(self._hear) for core in self._cores]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hear(self, _module: nn.Module, _args: Any, out: Any) -> None:
        self.looks = (*self.looks, Look(out[1], self._rows, self._columns))


class _Decoder:
    """Makes a language model tell where it looks in the picture: by cross-attention, or at the prefix of P places."""

    def __init__(self, module: nn.Module, places: int) -> None:
        self._module, self._places = module, places
        self.looks: tuple[Look, ...] = ()

    def __enter__(self) -> _Decoder:
        self._handles = [
            self._module.register_forward_pre_hook(self._ask, with_kwargs=True),
            self._module.register_forward_hook(self._hear),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    @staticmethod
    def _ask(_module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return args, {**kwargs, "output_attentions": True}

    def _hear(self, _module: nn.Module, _args: Any, out: Any) -> None:
        crossed = getattr(out, "cross_attentions", None)
        if crossed:
            self.looks = tuple(Look(each, slice(None), slice(None)) for each in crossed)
        else:
            text, places = slice(self._places, None), slice(0, self._places)
            self.looks = tuple(Look(each, text, places) for each in out.attentions)
