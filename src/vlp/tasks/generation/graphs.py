"""The graphs of generation: ``text``, ``step``, ``paint`` and ``match``, in the order that a picture is made in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vlp.tasks.base import ExportPart
from vlp.tasks.generation.book import Book
from vlp.tasks.generation.prior import Prior

if TYPE_CHECKING:
    from vlp.tasks.generation.task import Task


def export_parts(task: Task) -> dict[str, ExportPart]:
    """``text``: N texts to tokens and what the prior reads of them; ``step``: N words to what follows; ``paint``: N
    pictures' words to levels; ``match``: N pictures and texts to logits.
    """
    task.eval()
    size = task.prepared.image_size
    ids = torch.full((2, 8), task.prepared.mask_id, dtype=torch.int64)
    mask = torch.ones_like(ids)
    with torch.no_grad():
        tokens = task.model.encode_text(ids, mask).tokens
        keys, values = task.prior.reading(tokens, mask)
    text, rows, known = {0: "texts", 1: "length"}, {0: "texts"}, {1: "texts", 3: "length"}
    word = torch.zeros(2, dtype=torch.int64)
    told = {"text_tokens": tokens, "attention_mask": mask}
    return {
        "text": ExportPart(
            module=_Text(task),
            inputs={"input_ids": ids, "attention_mask": mask},
            dynamic={"input_ids": text, "attention_mask": text},
            outputs=("text_tokens", "keys", "values"),
            most={"length": task.model.text_encoder.max_positions},
        ),
        "step": ExportPart(
            module=_Step(task.prior),
            inputs={"word": word, "place": word, "keys": keys, "values": values, "seen": mask},
            dynamic={"word": rows, "place": rows, "keys": known, "values": known, "seen": text},
            outputs=("logits", "key", "value"),
        ),
        "paint": ExportPart(
            module=_Paint(task.book),
            inputs={"words": torch.full((2, task.words.places), task.words.sprites + 1, dtype=torch.int64)},
            dynamic={"words": rows},
            outputs=("levels",),
        ),
        "match": ExportPart(
            module=_Match(task),
            inputs={"images": torch.zeros(2, size, size, 3, dtype=torch.uint8), **told},
            dynamic={"images": rows, "text_tokens": text, "attention_mask": text},
            outputs=("logit",),
        ),
    }


class _Text(nn.Module):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model, self.prior = task.model, task.prior

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens = self.model.encode_text(input_ids, attention_mask).tokens
        return tokens, *self.prior.reading(tokens, attention_mask)


class _Step(nn.Module):
    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def forward(
        self, word: Tensor, place: Tensor, keys: Tensor, values: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.prior.step(word, place, keys, values, seen)


class _Paint(nn.Module):
    def __init__(self, book: Book) -> None:
        super().__init__()
        self.book = book

    def forward(self, words: Tensor) -> Tensor:
        return self.book.paint(words)


class _Match(nn.Module):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, images: Tensor, text_tokens: Tensor, attention_mask: Tensor) -> Tensor:
        return self.task.match(images, text_tokens, attention_mask)
