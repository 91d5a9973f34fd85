"""Image tagging: which of the data's labels does the picture show?

Every place of the image encoder's grid has a say, and the loudest decides (multiple-instance learning): a
label need not be located to be learnt, and the places that carry it become those that speak of it. That gives
the grid its words before matching and masked text have to look anything up in it, which from scratch
is what they spend most of their steps on.

Sources: tagging as a pre-training objective, Huang et al. 2023 (Tag2Text), https://arxiv.org/abs/2303.05657;
maximum over places, Oquab et al. 2015, https://doi.org/10.1109/CVPR.2015.7298668
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Examples, Prepared
from vlp.objectives.base import Collated, Drawn, Objective, ObjectiveParams, Sizes, Step


class Params(ObjectiveParams):
    """``pretrain.objectives.tagging``."""

    min_count: int = Field(gt=0, description="training records that a label must have to be learnt")


class Head(Objective):
    """One logit a label and place, the maximum over places."""

    losses = ("tag_loss",)
    fuses = False
    reads_text = reads_captions = False

    def __init__(self, params: Params, prepared: Prepared, sizes: Sizes) -> None:
        super().__init__()
        counts: dict[str, int] = prepared.summary["labels"]
        names = sorted(name for name, count in counts.items() if count >= params.min_count)
        if not names:
            raise ValueError(
                f"pretrain.objectives.tagging: {prepared.folder} has no label that {params.min_count} records share; "
                "remove the objective or lower min_count"
            )
        self.rows = names
        self.number = {name: number for number, name in enumerate(names)}
        self.logits = nn.Linear(sizes.image, len(names))
        # Most labels are absent from most pictures: start from there.
        nn.init.constant_(self.logits.bias, -4.0)

    def collate(
        self, examples: Examples, rows: Sequence[int], drawn: Drawn | None, rng: np.random.Generator
    ) -> Collated:
        """``tags`` float32 [B, K]: 1 where the record has the label."""
        tags_BK = torch.zeros(len(rows), len(self.number))
        for place, row in enumerate(rows):
            for name in examples.labels(row):
                if name in self.number:
                    tags_BK[place, self.number[name]] = 1.0
        return Collated(targets={"tags": tags_BK})

    def forward(self, step: Step) -> dict[str, Tensor]:
        logits_BK = self.logits(step.grid.tokens).float().amax(1)
        tags_BK = step.batch.targets["tags"]
        said, true = logits_BK.detach() > 0, tags_BK > 0
        overlap = (said & true).sum() / (said | true).sum().clamp_min(1)
        return {"tag_loss": F.binary_cross_entropy_with_logits(logits_BK, tags_BK), "tag_overlap": overlap.float()}
