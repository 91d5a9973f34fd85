"""Image–text matching: is this text true of this image?

One logit on the fused features under binary cross-entropy. With ``model.fusion.name: concat_mlp`` on
ResNet-50 and BERT-base it is the reference model of the field's tutorials.

Negatives are the data's minimal edits. Data without any gets, for training, a caption of another image
of the batch; for evaluation a caption drawn from another group, and for ``hard_negative_accuracy`` the
caption of another group that shares most words.

Source: Li et al. 2021 (ALBEF), https://arxiv.org/abs/2107.07651
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Examples, Prepared, TokenIds, draw, in_order, pad
from vlp.evaluation import binary
from vlp.evaluation.intervals import Bootstrap
from vlp.evaluation.slices import by_slice
from vlp.models.features import ImageFeatures
from vlp.models.modeling import VLPModel
from vlp.records import Batch
from vlp.tasks import base
from vlp.tasks.base import Evaluation, ExportPart, TaskParams, fused_part, grey, image_part
from vlp.tasks.matching.negatives import nearest_others, random_others


class Params(TaskParams):
    """``tasks.matching``."""

    captions_per_image: int = Field(gt=0, description="drawn a step, each with one negative")
    pair_weight: float = Field(ge=0, description="of telling a caption from its negative, beside judging each alone")


@dataclass(frozen=True, slots=True)
class Pairs:
    """M captions of a split, each with what it is held against.

    ``row`` int64 [M]: whose image; ``easy`` is what accuracy and the like are measured on, ``hard`` what
    ``hard_negative_accuracy`` is: the same minimal edit where the data has one. ``edited`` bool [M].
    """

    row: np.ndarray
    group: list[str]
    kind: list[str]
    true: list[TokenIds]
    easy: list[TokenIds]
    hard: list[TokenIds]
    edited: np.ndarray


class Task(base.Task):
    """One logit."""

    params_class = Params
    name = "matching"
    params: Params

    def __init__(self, params: Params, model: VLPModel, prepared: Prepared) -> None:
        super().__init__(params, model, prepared)
        self.logit = nn.Linear(model.fused_width, 1)

    def warm_start(self, objectives: dict[str, dict[str, Tensor]]) -> None:
        """Start from the matching objective's head, where pre-training had one."""
        if head := objectives.get("matching"):
            own = {name.removeprefix("logit."): value for name, value in head.items() if name.startswith("logit.")}
            self.logit.load_state_dict(own)

    def collate(self, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        """``statement``: true captions and their negatives, image by image; targets 1 and 0, float32 [N].

        ``true`` and ``false`` int64 [M]: where the two of each pair stand among them.
        """
        captions: list[tuple[TokenIds, TokenIds | None, int]] = []
        for place, row in enumerate(rows):
            true, edits = examples.ids("captions", "ids", row), examples.ids("captions", "negative_ids", row)
            for chosen in draw(len(true), self.params.captions_per_image, rng):
                ids = true[chosen]
                assert ids is not None
                captions.append((ids, edits[chosen], place))
        false = [edit for _, edit, _ in captions]
        if any(edit is None for edit in false):
            others = random_others([ids for ids, _, _ in captions], [str(place) for _, _, place in captions], rng)
            false = _filled(false, others)
        pairs = [(ids, edit, place) for (ids, _, place), edit in zip(captions, false, strict=True) if edit is not None]
        each = [[pair for pair in pairs if pair[2] == place] for place in range(len(rows))]
        texts = [text for mine in each for text in (*(true for true, _, _ in mine), *(edit for _, edit, _ in mine))]
        at: list[tuple[int, int]] = []
        for mine in each:
            start = 2 * len(at)
            at += [(start + i, start + len(mine) + i) for i in range(len(mine))]
        owner = [place for place, mine in enumerate(each) for _ in range(2 * len(mine))]
        statements = pad(texts, owner, self.prepared.pad_id)
        where = torch.tensor(at, dtype=torch.int64).reshape(-1, 2)
        statements.targets = torch.zeros(len(texts)).index_fill_(0, where[:, 0], 1.0)
        targets = {"true": where[:, 0], "false": where[:, 1]}
        return Batch(images=examples.images(rows), texts={"statement": statements}, targets=targets)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy of each statement, and the loss of telling the two of a pair apart."""
        texts = batch.texts["statement"]
        assert texts.targets is not None
        logits = self.logits(self.model.encode_image(batch.images).of(texts), texts.input_ids, texts.attention_mask)
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
        text = self.model.encode_text(input_ids, attention_mask)
        return self.logit(self.model.fuse(text, attention_mask, image).pooled).squeeze(-1).float()

    @torch.no_grad()
    def score(
        self, examples: Examples, rows: np.ndarray, texts: Sequence[TokenIds], *, blank: bool = False
    ) -> np.ndarray:
        """Probabilities float64 [M] that each text is true of the image of its row.

        Args:
            examples: the split.
            rows: int64 [M], rising.
            texts: M token ids.
            blank: take every picture away (mid-grey): what the text alone gives.
        """
        self.eval()
        found = np.empty(len(texts))
        nothing = grey(self.model, self.prepared.image_size) if blank else None
        for plan in in_order(len(examples), self.params.evaluation_batch_size):
            first, last = np.searchsorted(rows, [plan.rows[0], plan.rows[-1] + 1])
            if first == last:
                continue
            features = nothing or self.model.encode_image(examples.images(plan.rows))
            some = pad(texts[first:last], (rows[first:last] - plan.rows[0]).tolist(), self.prepared.pad_id)
            logits = self.logits(nothing or features.of(some), some.input_ids, some.attention_mask)
            found[first:last] = logits.double().sigmoid().numpy()
        return found

    def pairs(self, examples: Examples, seed: int) -> Pairs:
        """Every caption of the split with its negatives; captions that nothing can be held against are left out.

        Raises:
            ValueError: that leaves none.
        """
        row, kind, true, edits = [], [], [], []
        for index in range(len(examples)):
            kinds = [str(entry["kind"]) for entry in examples.values("captions", index)]
            row += [index] * len(kinds)
            kind += kinds
            true += [ids for ids in examples.ids("captions", "ids", index) if ids is not None]
            edits += examples.ids("captions", "negative_ids", index)
        group = [examples.strings("group")[index] for index in row]
        if all(ids is not None for ids in edits):
            easy = hard = edits
        else:
            easy = _filled(edits, random_others(true, group, np.random.default_rng(seed)))
            hard = _filled(edits, nearest_others(true, group))
        keep = [i for i in range(len(true)) if easy[i] is not None and hard[i] is not None]
        if not keep:
            raise ValueError(
                f"{examples.folder}: split {examples.split!r} has no caption with a negative: the matching task needs "
                "captions of at least two groups"
            )
        return Pairs(
            row=np.array([row[i] for i in keep]),
            group=[group[i] for i in keep],
            kind=[kind[i] for i in keep],
            true=[true[i] for i in keep],
            easy=[ids for i in keep if (ids := easy[i]) is not None],
            hard=[ids for i in keep if (ids := hard[i]) is not None],
            edited=np.array([edits[i] is not None for i in keep]),
        )

    def calibrate(self, validation: Examples, seed: int) -> None:
        """Choose the threshold with the best accuracy on the validation split."""
        pairs = self.pairs(validation, seed)
        scores = np.concatenate([self.score(validation, pairs.row, texts) for texts in (pairs.true, pairs.easy)])
        targets = np.repeat([1, 0], len(pairs.true))
        self.decision = {"threshold": round(binary.choose_threshold(targets, scores), 6)}

    def evaluate(self, test: Examples, seed: int, resamples: int) -> Evaluation:
        """Metrics with 95 % intervals by group, slices by kind of edit, and what the text alone gives."""
        pairs = self.pairs(test, seed)
        true, hard = self.score(test, pairs.row, pairs.true), self.score(test, pairs.row, pairs.hard)
        easy = hard if pairs.edited.all() else self.score(test, pairs.row, pairs.easy)
        targets, scores = np.repeat([1, 0], len(true)), np.concatenate([true, easy])
        metrics: dict[str, Any] = dict(
            binary.report(
                targets, scores, self.decision["threshold"], Bootstrap(pairs.group * 2, seed=seed, resamples=resamples)
            )
        )
        outcomes = binary.hard_negative_outcomes(true, hard)
        metrics["hard_negative_accuracy"] = float(outcomes.mean())
        metrics["hard_negative_accuracy_ci95"] = list(
            Bootstrap(pairs.group, seed=seed, resamples=resamples).ratio(outcomes)
        )
        metrics["hard_negative_accuracy_by_kind"] = by_slice(pairs.kind, lambda rows: float(outcomes[rows].mean()))
        text_only = [self.score(test, pairs.row, texts, blank=True) for texts in (pairs.true, pairs.hard)]
        metrics["text_only_hard_negative_accuracy"] = binary.hard_negative_accuracy(*text_only)
        metrics |= {"threshold": self.decision["threshold"], "pairs": len(scores), "images": len(test)}
        metrics["minimal_edits"] = int(pairs.edited.sum())
        return Evaluation(
            metrics=metrics,
            plots={
                "roc": binary.roc_points(targets, scores),
                "precision_recall": binary.precision_recall_points(targets, scores),
                "confusion": binary.confusion_rows(targets, scores, self.decision["threshold"]),
            },
            predictions=self._predictions(test, pairs, true, hard),
        )

    def _predictions(self, test: Examples, pairs: Pairs, true: np.ndarray, hard: np.ndarray) -> list[dict[str, Any]]:
        ids = test.strings("id")
        rows, seen = [], 0
        for place, row in enumerate(pairs.row.tolist()):
            seen = seen + 1 if place and pairs.row[place - 1] == row else 0
            rows.append(
                {
                    "record": ids[row],
                    "caption": seen,
                    "kind": pairs.kind[place],
                    "score": float(true[place]),
                    "negative_score": float(hard[place]),
                }
            )
        return rows

    def export_parts(self) -> dict[str, ExportPart]:
        """``image``: pixels to features; ``score``: features of N images and N texts to N logits."""
        self.eval()
        size = self.prepared.image_size
        images = torch.zeros(2, size, size, 3, dtype=torch.uint8)
        return {
            "image": image_part(self.model, images),
            "score": fused_part(self, self.logits, images, "logit"),
        }


def _filled(edits: Sequence[TokenIds | None], others: Sequence[TokenIds | None]) -> list[TokenIds | None]:
    return [other if edit is None else edit for edit, other in zip(edits, others, strict=True)]
