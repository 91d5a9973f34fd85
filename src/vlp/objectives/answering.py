"""Answering: what is asked of the image, among the answers of the train split?

Questions are statements with a hole at the end, and the pictures of pre-training come with them: a few of each image's
pass the fusion block with its captions, and what ``vqa`` starts from has been asked before.

Source: questions among the texts of pre-training, Tan & Bansal 2019 (LXMERT), https://arxiv.org/abs/1908.07490
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from vlp.data.loading import Examples, Prepared, about_nothing, pad
from vlp.data.questions import Questions, draw_questions, questions, vocabulary
from vlp.models.answers import AnswerHead, hide_end
from vlp.models.nothing import NOTHING, nothing
from vlp.objectives.base import Collated, Drawn, Objective, ObjectiveParams, Sizes, Step


class Params(ObjectiveParams):
    """``pretrain.objectives.answering``."""

    questions_per_image: int = Field(gt=0, description="drawn a step")
    answers: int = Field(gt=1, description="that can be given: the commonest of the train split; as tasks.vqa's")
    min_count: int = Field(gt=0, default=1, description="training questions that an answer must have; likewise")


class Head(Objective):
    """The head of ``vqa``, which starts from it where the answers are the same."""

    losses = ("answer_loss",)
    reads_captions = False

    def __init__(self, params: Params, prepared: Prepared, sizes: Sizes) -> None:
        super().__init__()
        self.params = params
        self.pad_id, self.mask_id = prepared.pad_id, prepared.mask_id
        self.answers = vocabulary(prepared.summary.get("answers", {}), params.answers, params.min_count)
        self.rows = self.answers
        if len(self.answers) < 2:
            raise ValueError(
                f"pretrain.objectives.answering: {prepared.folder}: {len(self.answers)} answers that "
                f"{params.min_count} training questions share, and two are needed; remove the objective, lower "
                "min_count, or give the source questions"
            )
        self.head = AnswerHead(sizes.fused, len(self.answers), has_tokens=sizes.has_tokens)
        self._asked: dict[str, Questions] = {}

    def collate(
        self, examples: Examples, rows: Sequence[int], drawn: Drawn | None, rng: np.random.Generator
    ) -> Collated:
        """``question``: some of each image's, their ends hidden; ``targets`` int64 [N]: the answers' numbers. Where no
        image has any, one ``about_nothing`` and no target.
        """
        if examples.split not in self._asked:
            self._asked[examples.split] = questions(examples, self.answers)
        wanted = self.params.questions_per_image
        ids, owner, code = draw_questions(examples, self._asked[examples.split], rows, wanted, rng)
        texts = pad(ids, owner, self.pad_id) if ids else about_nothing(self.mask_id, self.pad_id)
        texts.input_ids = hide_end(texts.input_ids, texts.attention_mask, self.mask_id)
        texts.targets = torch.tensor(code, dtype=torch.int64)
        return Collated({"question": texts})

    def forward(self, step: Step) -> dict[str, Tensor]:
        asked = step.batch.texts["question"]
        assert asked.targets is not None
        logits = self.head(step.fused("question"), asked.attention_mask)
        if not len(asked.targets):  # no image of this batch has a question of a known answer
            return {NOTHING: nothing([logits])}
        return {
            self.losses[0]: F.cross_entropy(logits, asked.targets),
            "answer_accuracy": (logits.argmax(-1) == asked.targets).float().mean(),
        }
