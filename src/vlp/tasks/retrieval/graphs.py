"""The graphs of retrieval: ``image`` and ``text`` to embeddings, and ``score`` for the second look at a few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vlp.models.features import ImageFeatures
from vlp.tasks.base import ExportPart

if TYPE_CHECKING:
    from vlp.tasks.retrieval.task import Task


def export_parts(task: Task) -> dict[str, ExportPart]:
    """``image``: pixels to features and unit vectors; ``text``: ids to unit vectors; ``score``: as of
    matching, and how likely each text is of any image.
    """
    task.eval()
    size = task.prepared.image_size
    images = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    features = task.model.encode_image(images)
    ids = torch.full((2, 8), task.prepared.mask_id, dtype=torch.int64)
    axes, most = {0: "texts", 1: "length"}, {"length": task.model.text_encoder.max_positions}
    text = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return {
        "image": ExportPart(
            module=_Image(task),
            inputs={"images": images},
            dynamic={"images": {0: "images"}},
            outputs=("image_tokens", "image_pooled", "image_embedding"),
        ),
        "text": ExportPart(
            module=_Text(task),
            inputs=text,
            dynamic={"input_ids": axes, "attention_mask": axes},
            outputs=("text_embedding",),
            most=most,
        ),
        "score": ExportPart(
            module=_Score(task),
            inputs={"image_tokens": features.tokens.detach(), "image_pooled": features.pooled.detach(), **text},
            dynamic={
                "image_tokens": {0: "texts"},
                "image_pooled": {0: "texts"},
                "input_ids": axes,
                "attention_mask": axes,
            },
            outputs=("logit", "prior"),
            most=most,
        ),
    }


class _Image(nn.Module):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.task.model.encode_image(images)
        return features.tokens, features.pooled, self.task.embed_image(features)


class _Text(nn.Module):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.task.embed_text(self.task.model.encode_text(input_ids, attention_mask))


class _Score(nn.Module):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(
        self, image_tokens: Tensor, image_pooled: Tensor, input_ids: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        text = self.task.model.encode_text(input_ids, attention_mask)
        image = ImageFeatures(tokens=image_tokens, pooled=image_pooled)
        logit = self.task.logit(self.task.model.fuse(text, attention_mask, image).pooled).squeeze(-1).float()
        return logit, self.task.likely(text)
