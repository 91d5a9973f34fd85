"""The exported graph, by what is looked at: a graph's inputs are its module's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from vlp.tasks.classification.task import Task


class OfImage(nn.Module):
    """A picture alone."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, images: Tensor) -> Tensor:
        return self.task.logits(images, None)


class OfText(OfImage):
    """A text alone."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:  # type: ignore[override]
        return self.task.logits(None, (input_ids, attention_mask))


class OfBoth(OfImage):
    """A picture and a text, row by row."""

    def forward(self, images: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:  # type: ignore[override]
        return self.task.logits(images, (input_ids, attention_mask))


GRAPHS: dict[str, type[OfImage]] = {"image": OfImage, "text": OfText, "both": OfBoth}
