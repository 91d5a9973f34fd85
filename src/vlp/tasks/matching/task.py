"""Image–text matching: is this text true of this image?

One logit on the fused features under binary cross-entropy. With ``model.fusion.name: concat_mlp`` on
ResNet-50 and BERT-base it is the reference model of the field's tutorials.

Negatives are the data's minimal edits. Data without any gets, for training, a caption of another image
of the batch; for evaluation a caption drawn from another group, and for ``hard_negative_accuracy`` the
caption of another group that shares most words.

Source: Li et al. 2021 (ALBEF), https://arxiv.org/abs/2107.07651
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Examples, Prepared, TokenIds, about_nothing, draw, in_order, pad, wordless
from vlp.evaluation import binary
from vlp.models.features import ImageFeatures
from vlp.models.heads import Head
from vlp.models.modeling import VLPModel
from vlp.models.nothing import NOTHING, nothing
from vlp.records import Batch, Texts
from vlp.tasks import base
from vlp.tasks.base import Evaluation, ExportPart, Frozen, TaskParams, fused_part, image_part, without_picture
from vlp.tasks.matching import report
from vlp.tasks.matching.negatives import random_others
from vlp.tasks.matching.pairs import Pairs, filled, pairs, require_negatives

Asked = tuple[np.ndarray, Sequence[TokenIds]]
"""Rows int64 [M], rising, and a text of each."""


class Params(TaskParams):
    """``tasks.matching``."""

    captions_per_image: int = Field(gt=0, description="drawn a step, each with one negative")
    pair_weight: float = Field(ge=0, description="of telling a caption from its negative, beside judging each alone")


class Task(base.Task):
    """One logit."""

    params_class = Params
    name = "matching"
    params: Params

    def __init__(self, params: Params, model: VLPModel, prepared: Prepared) -> None:
        super().__init__(params, model, prepared)
        self.logit = nn.Linear(model.fused_width, 1)

    def warm_start(self, objectives: Mapping[str, Head]) -> None:
        """Start from the matching objective's head, where pre-training had one."""
        if head := objectives.get("matching"):
            own = {name.removeprefix("logit."): value for name, value in head.items() if name.startswith("logit.")}
            self.logit.load_state_dict(own)

    def collate(self, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        """``statement``: true captions and their negatives, image by image; targets 1 and 0, float32 [N].

        ``true`` and ``false`` int64 [M]: where the two of each pair stand among them. Where there is none, one text
        ``about_nothing`` and no target.
        """
        captions: list[tuple[TokenIds, TokenIds | None, int]] = []
        own: list[frozenset[bytes]] = []
        for place, row in enumerate(rows):
            true, edits = examples.ids("captions", "ids", row), examples.ids("captions", "negative_ids", row)
            own.append(frozenset(ids.tobytes() for ids in true if ids is not None))
            for chosen in draw(len(true), self.params.captions_per_image, rng):
                ids = true[chosen]
                assert ids is not None
                captions.append((ids, edits[chosen], place))
        false = [edit for _, edit, _ in captions]
        if any(edit is None for edit in false):
            places = [place for _, _, place in captions]
            texts, groups = [ids for ids, _, _ in captions], [str(place) for place in places]
            others = random_others(texts, [own[place] for place in places], groups, rng)
            false = filled(false, others)
        pairs = [(ids, edit, place) for (ids, _, place), edit in zip(captions, false, strict=True) if edit is not None]
        each = [[pair for pair in pairs if pair[2] == place] for place in range(len(rows))]
        texts = [text for mine in each for text in (*(true for true, _, _ in mine), *(edit for _, edit, _ in mine))]
        at: list[tuple[int, int]] = []
        for mine in each:
            start = 2 * len(at)
            at += [(start + i, start + len(mine) + i) for i in range(len(mine))]
        owner = [place for place, mine in enumerate(each) for _ in range(2 * len(mine))]
        pad_id = self.prepared.pad_id
        statements = pad(texts, owner, pad_id) if texts else about_nothing(self.prepared.mask_id, pad_id)
        where = torch.tensor(at, dtype=torch.int64).reshape(-1, 2)
        statements.targets = torch.zeros(len(texts)).index_fill_(0, where[:, 0], 1.0)
        targets = {"true": where[:, 0], "false": where[:, 1]}
        return Batch(images=examples.images(rows), texts={"statement": statements}, targets=targets)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy of each statement, and the loss of telling the two of a pair apart."""
        texts = batch.texts["statement"]
        assert texts.targets is not None
        logits = self.logits(self.model.encode_image(batch.images).of(texts), texts.input_ids, texts.attention_mask)
        if not len(texts.targets):  # all captions of this batch are alike, or one picture's: nothing is false of any
            return {NOTHING: nothing([logits])}
        margin = logits[batch.targets["true"]] - logits[batch.targets["false"]]
        return {
            "matching_loss": F.binary_cross_entropy_with_logits(logits, texts.targets),
            # The two differ in a word: whatever else the image and the sentence bring cancels out.
            "pair_loss": self.params.pair_weight * F.softplus(-margin).mean(),
            "accuracy": ((logits > 0) == (texts.targets > 0.5)).float().mean(),
            "pair_accuracy": (margin > 0).float().mean(),
        }

    def logits(self, image: ImageFeatures, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """float32 [N]: above zero, the more likely true. ``image`` as of ``VLPModel.fuse``."""
        return self.logit(self._fused(image, input_ids, attention_mask)).squeeze(-1).float()

    def _fused(self, image: ImageFeatures, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        text = self.model.encode_text(input_ids, attention_mask)
        return self.model.fuse(text, attention_mask, image).pooled

    def score(
        self,
        examples: Examples,
        rows: np.ndarray,
        texts: Sequence[TokenIds],
        *,
        blank: bool = False,
        mute: bool = False,
    ) -> np.ndarray:
        """Probabilities float64 [M] that each text is true of the image of its row.

        Args:
            examples: the split.
            rows: int64 [M], rising.
            texts: M token ids.
            blank: take every picture away (mid-grey): what the text alone gives.
            mute: take every text away (no word): what the picture alone gives.
        """
        if blank:
            return self._blank(texts)
        texts = [wordless(ids) for ids in texts] if mute else texts
        return self._probabilities(self._states(examples, [(rows, texts)])[0])

    @torch.no_grad()
    def _states(self, examples: Examples, asked: Sequence[Asked]) -> list[np.ndarray]:
        """Fused states float32 [M, D] of each group of texts; an image is encoded once for all groups."""
        self.eval()
        found = [np.empty((len(texts), self.model.fused_width), np.float32) for _, texts in asked]
        for plan in in_order(len(examples), self.params.evaluation_batch_size):
            ends = [np.searchsorted(rows, [plan.rows[0], plan.rows[-1] + 1]) for rows, _ in asked]
            if all(first == last for first, last in ends):
                continue
            features = self.model.encode_image(examples.images(plan.rows))
            for states, (rows, texts), (first, last) in zip(found, asked, ends, strict=True):
                if first < last:
                    some = pad(texts[first:last], (rows[first:last] - plan.rows[0]).tolist(), self.prepared.pad_id)
                    pooled = self._fused(features.of(some), some.input_ids, some.attention_mask)
                    states[first:last] = pooled.float().numpy()
        return found

    @torch.no_grad()
    def _probabilities(self, states: np.ndarray) -> np.ndarray:
        """Float64 [M] of states [M, D]."""
        return np.asarray(self.logit(torch.from_numpy(states)).squeeze(-1).double().sigmoid().numpy())

    @torch.no_grad()
    def _blank(self, texts: Sequence[TokenIds]) -> np.ndarray:
        """Probabilities without any picture, float64 [M]."""
        self.eval()

        def read(image: ImageFeatures, some: Texts) -> np.ndarray:
            return self._probabilities(self._fused(image, some.input_ids, some.attention_mask).float().numpy())

        return without_picture(self.model, self.prepared, texts, read)

    def prepare(self, train: Examples, seed: int) -> None:
        """Nothing to measure; but what is chosen on validation, and judged on test, has something to be told from.

        Raises:
            ValueError: captions of a split have no negatives.
        """
        for split in self._judged():
            require_negatives(split)

    def pairs(self, examples: Examples, seed: int) -> Pairs:
        """As of ``vlp.tasks.matching.pairs``."""
        return pairs(examples, seed)

    def calibrate(self, validation: Examples, seed: int) -> None:
        """Choose the threshold with the best accuracy on the validation split."""
        pairs = self.pairs(validation, seed)
        states = self._states(validation, [(pairs.row, texts) for texts in (pairs.true, pairs.easy)])
        targets = np.repeat([1, 0], len(pairs.true))
        scores = np.concatenate([self._probabilities(each) for each in states])
        self.decision = {"threshold": binary.choose_threshold(targets, scores)}

    def evaluate(self, test: Examples, seed: int, resamples: int) -> Evaluation:
        """Metrics with 95 % intervals by group, slices by kind of edit, and what the text alone gives."""
        pairs = self.pairs(test, seed)
        held = [pairs.hard] if pairs.edited.all() else [pairs.hard, pairs.easy]
        images, owner = np.unique(pairs.row, return_inverse=True)
        # Without its words one text is as good as another: one an image.
        silent = [wordless(pairs.true[0])] * len(images)
        asked = [(pairs.row, texts) for texts in (pairs.true, *held)]
        *states, mute = self._states(test, [*asked, (images, silent)])
        ways = report.Scored(
            seen=report.Ways.of([self._probabilities(each) for each in states]),
            blank=report.Ways.of(np.split(self._blank([text for _, texts in asked for text in texts]), len(asked))),
            mute=report.Ways.of([self._probabilities(mute)[owner]] * len(asked)),
        )
        found = report.evaluation(test, pairs, ways, self.decision["threshold"], seed=seed, resamples=resamples)
        return replace(found, frozen=_frozen(pairs, states[0], states[-1]))

    def export_parts(self) -> dict[str, ExportPart]:
        """``image``: pixels to features; ``score``: features of N images and N texts to N logits."""
        self.eval()
        size = self.prepared.image_size
        images = torch.zeros(2, size, size, 3, dtype=torch.uint8)
        return {
            "image": image_part(self.model, images),
            "score": fused_part(self, self.logits, images, "logit"),
        }


def _frozen(pairs: Pairs, true: np.ndarray, false: np.ndarray) -> Frozen:
    """The fused state of every true caption and of what it is held against."""
    is_true = np.repeat([True, False], len(pairs.true))
    targets = np.stack([is_true, ~is_true], axis=1)
    return Frozen(np.concatenate([true, false]), targets, pairs.group * 2, exclusive=True, metric="accuracy")
