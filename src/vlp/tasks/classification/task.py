"""Classification: which of the data's labels does a record have?

Several labels a record (``kind: multi``, each decided by itself) or one (``kind: single``), from the image, from a
caption, or from both. The image is read as the tagging objective reads it, one logit a label and place and the maximum
over places, and starts from that objective's head.

Sources: multi-label heads with the maximum over places, Oquab et al. 2015, https://doi.org/10.1109/CVPR.2015.7298668;
thresholds by label for macro F1, Lipton et al. 2014, https://arxiv.org/abs/1402.1892
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from vlp.data.loading import Examples, Prepared, TokenIds, draw, in_order, pad, wordless
from vlp.data.slices import object_counts
from vlp.evaluation.binary import choose_threshold
from vlp.evaluation.calibration import choose_temperature, sigmoid, softmax
from vlp.models.heads import Head
from vlp.models.modeling import VLPModel
from vlp.preprocessing import text as texts
from vlp.records import Batch
from vlp.tasks import base
from vlp.tasks.base import Evaluation, ExportPart, Frozen, TaskParams
from vlp.tasks.classification import labels, metrics
from vlp.tasks.classification.graphs import GRAPHS
from vlp.tasks.classification.zero_shot import ZeroShot

UNDECIDED = -100
"""The target of a record without a label where each has one at most: it teaches nothing."""


class Params(TaskParams):
    """``tasks.classification``."""

    kind: Literal["multi", "single"] = Field(description="how many labels a record may have")
    modality: Literal["image", "text", "both"] = Field(description="what is looked at; a text is one of the captions")
    min_count: int = Field(gt=0, description="training records that a label must have to be learnt")
    prompts: tuple[str, ...] = Field(
        default=(), description="of the zero-shot baseline, with {label} in each; none: no such baseline"
    )

    @field_validator("prompts")
    @classmethod
    def _about_the_label(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for prompt in value:
            if "{label}" not in prompt:
                raise ValueError(f"expected {{label}} in {prompt!r}: without it, it says the same of every label")
        return value


class Task(base.Task):
    """One logit a label."""

    params_class = Params
    name = "classification"
    params: Params

    def __init__(self, params: Params, model: VLPModel, prepared: Prepared) -> None:
        super().__init__(params, model, prepared)
        self.labels = labels.names(prepared.summary.get("labels", {}), params.min_count)
        self.rows = self.labels
        if len(self.labels) < 2:
            raise ValueError(
                f"{prepared.folder}: {len(self.labels)} labels that {params.min_count} training records share; the "
                "task classification needs two or more: name the field `labels` in the source, lower "
                "tasks.classification.min_count, or take classification out of `tasks`"
            )
        self.sees, self.reads = params.modality != "text", params.modality != "image"
        count = len(self.labels)
        self.grid = nn.Linear(model.image_width, count) if self.sees else None
        text_width = model.fused_width if self.sees else model.text_width
        self.text = nn.Linear(text_width, count) if self.reads else None
        self.zero_shot = ZeroShot(model) if params.prompts and self.sees else None
        # What is not looked through is neither trained nor asked for gradients.
        model.requires_grad_(self.sees and self.reads)
        model.image_encoder.requires_grad_(self.sees)
        model.text_encoder.requires_grad_(self.reads)
        self._tables: dict[str, np.ndarray] = {}

    def warm_start(self, objectives: Mapping[str, Head]) -> None:
        """Start from the tagging objective's head, label by label where that learnt it, and embed the prompts."""
        head = objectives.get("tagging")
        if self.grid is not None and head and head["logits.weight"].shape[1] == self.grid.in_features:
            known, rows = head.places(self.labels)
            with torch.no_grad():
                self.grid.weight[known] = head["logits.weight"][rows]
                self.grid.bias[known] = head["logits.bias"][rows]
        head = objectives.get("contrastive")
        if self.zero_shot is not None and head:
            self.zero_shot.take_over(head, self.model, self._prompts(), self.prepared.pad_id)

    def _prompts(self) -> list[list[TokenIds]]:
        tokenizer = texts.load_tokenizer(self.prepared.folder / "tokenizer" / "tokenizer.json")
        longest = self.model.text_encoder.max_positions
        found = []
        for label in self.labels:
            whole = texts.encode_whole(tokenizer, [prompt.replace("{label}", label) for prompt in self.params.prompts])
            found.append([np.array(texts.shorten(ids, longest, ids[-1]), np.int32) for ids in whole])
        return found

    def table(self, examples: Examples) -> np.ndarray:
        """Bool [rows, K]: the labels of each record of a split, read once.

        Raises:
            ValueError: there is none, or a record has several where one is wanted.
        """
        if examples.split not in self._tables:
            found = labels.table(examples, self.labels)
            if self.params.kind == "single":
                labels.check_exclusive(examples, found)
            self._tables[examples.split] = found
        return self._tables[examples.split]

    def captions(self, examples: Examples, row: int) -> list[TokenIds]:
        """Token ids of each caption of a record.

        Raises:
            ValueError: it has none.
        """
        found = [ids for ids in examples.ids("captions", "ids", row) if ids is not None]
        if not found:
            raise ValueError(
                f"{examples.folder}: split {examples.split!r}: record {examples.strings('id')[row]!r} has no caption, "
                "and tasks.classification.modality reads one: set it to image"
            )
        return found

    def prepare(self, train: Examples, seed: int) -> None:
        """Nothing to measure; but each split has labels, and where text is read, each record has some.

        Raises:
            ValueError: as of ``table``, or records have no caption.
        """
        for split in (train, *self._judged()):
            self.table(split)
        if self.reads:
            self._require_captions()

    def collate(self, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        """``label`` float32 [B, K]; where text is read, ``text``: one caption an image."""
        target = torch.from_numpy(self.table(examples)[list(rows)].astype(np.float32))
        groups = {}
        if self.reads:
            drawn = [self.captions(examples, row) for row in rows]
            ids = [mine[draw(len(mine), 1, rng)[0]] for mine in drawn]
            groups["text"] = pad(ids, range(len(rows)), self.prepared.pad_id)
        return Batch(images=examples.images(rows), texts=groups, targets={"label": target})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy of every label, or cross-entropy of the one."""
        target = batch.targets["label"]
        text = batch.texts.get("text")
        ids = None if text is None else (text.input_ids, text.attention_mask)
        logits = self.logits(batch.images if self.sees else None, ids)
        if self.params.kind == "multi":
            said, true = logits.detach() > 0, target > 0
            overlap = (said & true).sum() / (said | true).sum().clamp_min(1)
            return {
                "classification_loss": F.binary_cross_entropy_with_logits(logits, target),
                "overlap": overlap.float(),
            }
        known = target.sum(1) > 0
        code = target.argmax(1).masked_fill(~known, UNDECIDED)
        loss = F.cross_entropy(logits, code, ignore_index=UNDECIDED, reduction="sum") / known.sum().clamp_min(1)
        right = (logits.argmax(1) == code).sum() / known.sum().clamp_min(1)
        return {"classification_loss": loss, "accuracy": right.float()}

    def logits(self, images: Tensor | None, text: tuple[Tensor, Tensor] | None) -> Tensor:
        """float32 [B, K].

        Args:
            images: uint8 [B, S, S, 3], where the task sees.
            text: ids and mask, int64 [B, L] each, where it reads.
        """
        return self._read(images, text)[0]

    def _read(self, images: Tensor | None, text: tuple[Tensor, Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """Logits, and the features behind them, each [B, D]."""
        parts: list[Tensor] = []
        features: list[Tensor] = []
        grid = None
        if self.grid is not None:
            assert images is not None
            grid = self.model.image_encoder(images)
            parts.append(self.grid(grid.tokens).float().amax(1))
            features += [grid.pooled, grid.tokens.amax(1)]
        if self.text is not None:
            assert text is not None
            found = self.model.encode_text(*text)
            pooled = found.pooled
            if grid is not None:
                pooled = self.model.fuse(found, text[1], self.model.fusion.embed_image(grid)).pooled
            parts.append(self.text(pooled).float())
            features.append(pooled)
        return torch.stack(parts).sum(0), features

    @torch.no_grad()
    def score(self, examples: Examples, *, blank: bool = False, mute: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Logits float32 [rows, K] of every record of the split, and the features behind them [rows, D].

        A record's text is its first caption.

        Args:
            examples: the split.
            blank: take every picture away (mid-grey).
            mute: take every text away (no word).
        """
        self.eval()
        found: list[tuple[Tensor, Tensor]] = []
        for plan in in_order(len(examples), self.params.evaluation_batch_size):
            images = examples.images(plan.rows) if self.sees else None
            if blank and images is not None:
                images = torch.full_like(images, 128)
            text = None
            if self.reads:
                ids = [self.captions(examples, row)[0] for row in plan.rows]
                ids = [wordless(each) for each in ids] if mute else ids
                padded = pad(ids, range(len(ids)), self.prepared.pad_id)
                text = (padded.input_ids, padded.attention_mask)
            logits, features = self._read(images, text)
            found.append((logits, torch.cat([each.float() for each in features], dim=1)))
        return (torch.cat([logits for logits, _ in found]).numpy(), torch.cat([each for _, each in found]).numpy())

    @torch.no_grad()
    def prompted(self, examples: Examples) -> np.ndarray:
        """What the pre-trained backbone gives without training: cosines of pictures and prompts [rows, K]."""
        assert self.zero_shot is not None
        self.eval()
        plans = in_order(len(examples), self.params.evaluation_batch_size)
        return np.concatenate([self.zero_shot(examples.images(plan.rows)).numpy() for plan in plans])

    def calibrate(self, validation: Examples, seed: int) -> None:
        """Choose the temperature, and each label's threshold for the best F1 where it is decided by itself."""
        target = self.table(validation)
        logits, _ = self.score(validation)
        self.decision = {"labels": self.labels, "kind": self.params.kind, "modality": self.params.modality}
        if self.params.kind == "single":
            known = target.any(1)
            temperature = choose_temperature(logits[known], target[known].argmax(1))
            self.decision["temperature"] = round(temperature, 4)
            return
        self.decision["temperature"] = round(choose_temperature(logits, target.astype(np.int64)), 4)
        probabilities = sigmoid(logits / self.decision["temperature"])
        self.decision["thresholds"] = _thresholds(target, probabilities, otherwise=0.5)
        if self.zero_shot is not None and self.zero_shot.ready:
            cosines = self.prompted(validation)
            # In float32 half-way between two neighbours is one of them.
            self.zero_shot.thresholds = torch.tensor(_thresholds(target, cosines, otherwise=1.0), dtype=torch.float64)

    def evaluate(self, test: Examples, seed: int, resamples: int) -> Evaluation:
        """Macro figures with intervals, slices by label, and beside them what no training and no picture give."""
        target = self.table(test)
        logits, features = self.score(test)
        scores = {metrics.OWN: self.probabilities(logits)}
        if self.sees and self.reads:
            for way, taken in (("text_only", {"blank": True}), ("image_only", {"mute": True})):
                scores[way] = self.probabilities(self.score(test, **taken)[0])
        ways = {way: self.called(probabilities) for way, probabilities in scores.items()}
        if self.zero_shot is not None and self.zero_shot.ready:
            scores["zero_shot"] = self.prompted(test)
            thresholds = self.zero_shot.thresholds.numpy()
            ways["zero_shot"] = (
                scores["zero_shot"] >= thresholds if self.params.kind == "multi" else _highest(scores["zero_shot"])
            )
        if self.sees:
            train = self.prepared.split("train")
            ways["nearest_by_colour"] = labels.of_nearest(test, train, self.table(train))
            scores["nearest_by_colour"] = ways["nearest_by_colour"].astype(np.float64)
        found = metrics.measure(
            metrics.Measured(
                labels=self.labels,
                exclusive=self.params.kind == "single",
                target=target,
                train=self.table(self.prepared.split("train")),
                called=ways,
                scores=scores,
                ids=test.strings("id"),
                groups=test.strings("group"),
                objects=object_counts(test),
            ),
            seed=seed,
            resamples=resamples,
        )
        return replace(found, frozen=self._frozen(test, features))

    def _frozen(self, test: Examples, features: np.ndarray) -> Frozen:
        """What stands before the heads; where labels are exclusive, records without one are left out."""
        target, exclusive = self.table(test), self.params.kind == "single"
        rows = np.flatnonzero(target.any(1)) if exclusive else np.arange(len(target))
        groups = [test.strings("group")[row] for row in rows.tolist()]
        return Frozen(features[rows], target[rows], groups, exclusive=exclusive, metric="macro_f1")

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated, float64 [N, K]."""
        scaled = logits / self.decision["temperature"]
        return softmax(scaled) if self.params.kind == "single" else sigmoid(scaled)

    def called(self, probabilities: np.ndarray) -> np.ndarray:
        """Bool [N, K]: the labels that each record is said to have."""
        if self.params.kind == "single":
            return _highest(probabilities)
        return np.asarray(probabilities >= np.array(self.decision["thresholds"]))

    def export_parts(self) -> dict[str, ExportPart]:
        """``label``: N images, N texts, or both, to N × K logits."""
        self.eval()
        size = self.prepared.image_size
        ids = torch.full((2, 8), self.prepared.mask_id, dtype=torch.int64)
        inputs: dict[str, Tensor] = {}
        dynamic: dict[str, dict[int, str]] = {}
        if self.sees:
            inputs["images"] = torch.zeros(2, size, size, 3, dtype=torch.uint8)
            dynamic["images"] = {0: "records"}
        if self.reads:
            inputs |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            dynamic |= {name: {0: "records", 1: "length"} for name in ("input_ids", "attention_mask")}
        module = GRAPHS[self.params.modality](self)
        most = {"length": self.model.text_encoder.max_positions}
        return {"label": ExportPart(module=module, inputs=inputs, dynamic=dynamic, outputs=("logits",), most=most)}


def _highest(scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores.argmax(1)[:, None] == np.arange(scores.shape[1]))


def _thresholds(target: np.ndarray, scores: np.ndarray, *, otherwise: float) -> list[float]:
    """The best of each label for F1; ``otherwise`` for a label that no record has, of which nothing can be learnt."""
    return [
        choose_threshold(target[:, k].astype(np.int64), scores[:, k], "f1") if target[:, k].any() else otherwise
        for k in range(target.shape[1])
    ]
