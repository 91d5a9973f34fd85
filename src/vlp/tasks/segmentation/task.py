"""Text-prompted segmentation: which pixels does this expression name?

One logit a pixel, decoded from the image encoder's maps under the direction of the fused text; binary
cross-entropy, and Dice so that a small thing weighs as much as a large one. One threshold, chosen on validation.

Sources: the task, Lüddecke & Ecker 2022 (CLIPSeg), https://arxiv.org/abs/2112.10003; Dice, Milletari et al. 2016,
https://arxiv.org/abs/1606.04797
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vlp.data.loading import Examples, Prepared, TokenIds, draw, in_order, pad, wordless
from vlp.evaluation import masks
from vlp.evaluation.nearest import evenly
from vlp.models.features import ImageFeatures
from vlp.models.heads import Head
from vlp.models.modeling import VLPModel
from vlp.records import Batch
from vlp.tasks import base
from vlp.tasks.base import Evaluation, ExportPart, TaskParams
from vlp.tasks.segmentation import report
from vlp.tasks.segmentation.decoder import Decoder, Scale, hints

_PICTURES = 8
_BLIND = 400
"""Records that the model is shown without words: enough for a floor."""
_CALIBRATED = 400
"""Records that the threshold is chosen on: its mIoU is flat around the best."""


class Params(TaskParams):
    """``tasks.segmentation``."""

    regions_per_image: int = Field(gt=0, description="drawn a step")
    width: int = Field(ge=16, description="channels of the decoder at the coarsest size")
    rounds: int = Field(gt=0, description="of looking at the text and at the neighbours at the coarsest size")
    heads: int = Field(gt=0, description="of the look at the text; a divisor of width")
    coarse_weight: float = Field(ge=0, description="of telling at the coarsest size which places are meant")
    dice_weight: float = Field(ge=0, description="of Dice, beside cross-entropy")


@dataclass(frozen=True, slots=True)
class Regions:
    """The regions of some records: whose they are, ``row`` int64 [M], rising, and what was found of them.

    ``probability`` float32 [M, S, S], ``target`` bool [M, S, S]; ``images`` uint8 [B, S, S, 3], and ``place`` int64
    [M]: which of them each region is in.
    """

    images: np.ndarray
    place: np.ndarray
    row: np.ndarray
    probability: np.ndarray
    target: np.ndarray


class Task(base.Task):
    """A decoder of masks."""

    params_class = Params
    name = "segmentation"
    params: Params

    def __init__(self, params: Params, model: VLPModel, prepared: Prepared) -> None:
        super().__init__(params, model, prepared)
        scales, image_width, looks = _shapes(model, prepared.image_size)
        self.decoder = Decoder(
            scales,
            image_width=image_width,
            text_width=model.fused_width,
            width=params.width,
            rounds=params.rounds,
            heads=params.heads,
            looks=looks,
        )

    def warm_start(self, objectives: Mapping[str, Head]) -> None:
        """Nothing to take over: what pre-training knows of places comes by way of the backbone's attention."""

    def prepare(self, train: Examples, seed: int) -> None:
        """Nothing to measure; but each split that is judged has regions.

        Raises:
            ValueError: no record of a split has a region.
        """
        for split in self._judged():
            self._rows_with("regions", split)

    def collate(self, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        """``expression``: regions of each image; ``masks`` float32 [N, S, S].

        A record without a region gives its place to one that has some.

        Raises:
            ValueError: no record of the split has a region.
        """
        rows = self._drawable("regions", examples, rows, rng)
        texts: list[TokenIds] = []
        targets: list[np.ndarray] = []
        owner: list[int] = []
        for place, row in enumerate(rows):
            ids, found = examples.ids("regions", "ids", row), examples.masks(row)
            for chosen in draw(len(ids), self.params.regions_per_image, rng):
                text = ids[chosen]
                assert text is not None
                texts.append(text)
                targets.append(found[chosen])
                owner.append(place)
        return Batch(
            images=examples.images(rows),
            texts={"expression": pad(texts, owner, self.prepared.pad_id)},
            targets={"masks": torch.from_numpy(np.stack(targets)).float()},
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy a pixel and Dice a mask."""
        texts, targets = batch.texts["expression"], batch.targets["masks"]
        image, embedded = self.embed(batch.images)
        own = [each.index_select(0, texts.image_index) for each in embedded]
        logits, coarse = self.decoded(image.of(texts), own, texts.input_ids, texts.attention_mask)
        share = F.adaptive_avg_pool2d(targets, (coarse.shape[1], coarse.shape[2]))
        probabilities = logits.sigmoid()
        both, sizes = (probabilities * targets).sum((1, 2)), probabilities.sum((1, 2)) + targets.sum((1, 2))
        called = logits.detach() > 0
        wanted = targets > 0.5
        overlap = (called & wanted).sum((1, 2)) / (called | wanted).sum((1, 2)).clamp_min(1)
        return {
            "mask_loss": F.binary_cross_entropy_with_logits(logits, targets),
            "dice_loss": self.params.dice_weight * (1 - (2 * both + 1) / (sizes + 1)).mean(),
            # Which thing is meant is told by places; to learn it through every pixel's detail takes far longer.
            "coarse_loss": self.params.coarse_weight * F.binary_cross_entropy_with_logits(coarse, share),
            "iou": overlap.mean(),
        }

    def embed(self, images: Tensor) -> tuple[ImageFeatures, tuple[Tensor, ...]]:
        """What is the same for every text about an image: features to fuse with, and the decoder's maps.

        Args:
            images: uint8 [B, S, S, 3].
        """
        encoder = self.model.image_encoder
        maps = encoder.maps(encoder.pixels(images))
        image = self.model.fusion.embed_image(encoder.features(maps[-1]))
        return image, self.decoder.embed(maps, image.tokens)

    def decoded(
        self, image: ImageFeatures, embedded: Sequence[Tensor], input_ids: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of masks, above zero the more likely meant: as of ``Decoder``.

        Args:
            image: as of ``VLPModel.fuse``.
            embedded: the decoder's maps, N rows each.
            input_ids: int64 [N, L].
            attention_mask: int64 [N, L].
        """
        text = self.model.encode_text(input_ids, attention_mask)
        return self.decoder(embedded, self.model.fuse(text, attention_mask, image), attention_mask)

    @torch.inference_mode()
    def found(self, examples: Examples, *, blank: bool = False, at_most: int | None = None) -> Iterator[Regions]:
        """The regions of a split, answered, some records at a time.

        Args:
            examples: the split.
            blank: take every word away: what the picture alone gives.
            at_most: so many of the records that have a region, evenly spread, for data may be sorted; all if None.

        Raises:
            ValueError: no record of the split has a region.
        """
        self.eval()
        has = self._rows_with("regions", examples)
        rows = has if at_most is None else evenly(has, at_most)
        for plan in in_order(len(rows), self.params.evaluation_batch_size):
            some_rows = rows[list(plan.rows)].tolist()
            texts = [(place, ids) for place, row in enumerate(some_rows) for ids in examples.ids("regions", "ids", row)]
            images = examples.images(some_rows)
            image, embedded = self.embed(images)
            ids = [wordless(text) if blank else text for _, text in texts if text is not None]
            some = pad(ids, [place for place, _ in texts], self.prepared.pad_id)
            own = [each.index_select(0, some.image_index) for each in embedded]
            logits, _ = self.decoded(image.index(some.image_index), own, some.input_ids, some.attention_mask)
            place = some.image_index.numpy()
            yield Regions(
                images=images.numpy(),
                place=place,
                row=np.array(some_rows)[place],
                probability=logits.sigmoid().numpy(),
                target=np.stack([mask for row in some_rows for mask in examples.masks(row)]),
            )

    def calibrate(self, validation: Examples, seed: int) -> None:
        """Choose the threshold with the best mIoU on the validation split."""
        some_of = self.found(validation, at_most=_CALIBRATED)
        scores = [masks.threshold_scores(some.probability, some.target) for some in some_of]
        best = int(np.concatenate(scores).mean(0).argmax())
        self.decision = {"threshold": float(masks.THRESHOLDS[best])}

    def evaluate(self, test: Examples, seed: int, resamples: int) -> Evaluation:
        """mIoU, pixel accuracy and boundary F1 with intervals by group, slices, and what does without the text."""
        threshold = self.decision["threshold"]
        scores: dict[str, list[np.ndarray]] = {}
        rows: list[np.ndarray] = []
        pictures: list[np.ndarray] = []
        for some in self.found(test):
            called = some.probability >= threshold
            for name, values in _measures(some, called).items():
                scores.setdefault(name, []).append(values)
            rows.append(some.row)
            left = range(min(_PICTURES - len(pictures), len(some.row)))
            own = some.images[some.place]
            pictures += [report.triptych(own[i], some.target[i], called[i]) for i in left]
        blind = [
            (some.row, masks.iou(some.probability >= threshold, some.target))
            for some in self.found(test, blank=True, at_most=_BLIND)
        ]
        found = {name: np.concatenate(values) for name, values in scores.items()}
        row = np.concatenate(rows)
        metrics = report.figures(test, row, found, blind, seed=seed, resamples=resamples)
        metrics |= {"threshold": threshold, "regions": len(row), "images": len(set(row.tolist()))}
        return Evaluation(
            metrics=metrics,
            plots={"iou": report.histogram(found["iou"])},
            predictions=report.predictions(test, row, found),
            pictures={"examples": np.concatenate(pictures)},
        )

    def export_parts(self) -> dict[str, ExportPart]:
        """``image``: pixels to features and maps; ``mask``: those of N images and N texts to N masks of logits."""
        self.eval()
        size = self.prepared.image_size
        images = torch.zeros(2, size, size, 3, dtype=torch.uint8)
        with torch.no_grad():
            image, embedded = self.embed(images)
        ids = torch.full((2, 8), self.prepared.mask_id, dtype=torch.int64)
        maps = dict(zip(("grid_map", "fine_map", "pixel_map"), embedded, strict=True))
        features = {"image_tokens": image.tokens, "image_pooled": image.pooled, **maps}
        text = {0: "texts", 1: "length"}
        return {
            "image": ExportPart(
                module=_Image(self),
                inputs={"images": images},
                dynamic={"images": {0: "images"}},
                outputs=tuple(features),
            ),
            "mask": ExportPart(
                module=_Mask(self),
                inputs={
                    "input_ids": ids,
                    "attention_mask": torch.ones_like(ids),
                    **{name: each.detach() for name, each in features.items()},
                },
                dynamic={"input_ids": text, "attention_mask": text, **{name: {0: "texts"} for name in features}},
                outputs=("logits",),
                most={"length": self.model.text_encoder.max_positions},
            ),
        }


class _Image(nn.Module):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        image, embedded = self.task.embed(images)
        return image.tokens, image.pooled, *embedded


class _Mask(nn.Module):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        tokens: Tensor,
        pooled: Tensor,
        grid: Tensor,
        fine: Tensor,
        pixels: Tensor,
    ) -> Tensor:
        image = ImageFeatures(tokens=tokens, pooled=pooled)
        return self.task.decoded(image, (grid, fine, pixels), input_ids, attention_mask)[0]


def _shapes(model: VLPModel, size: int) -> tuple[list[Scale], int, int]:
    """By a trial: the encoder's maps, the width of image tokens, and how many hints a place gets."""
    training, encoder = model.training, model.eval().image_encoder
    ids = torch.full((1, 2), model.config.pad_token_id)
    mask = torch.ones_like(ids)
    with torch.no_grad():
        maps = encoder.maps(encoder.pixels(torch.zeros(1, size, size, 3, dtype=torch.uint8)))
        image = model.fusion.embed_image(encoder.features(maps[-1]))
        found = hints(model.fuse(model.encode_text(ids, mask), mask, image), mask)
    model.train(training)
    scales = [Scale((each.shape[2], each.shape[3]), each.shape[1]) for each in maps]
    return scales, image.tokens.shape[2], 0 if found is None else found.shape[1]


def _measures(some: Regions, called: np.ndarray) -> dict[str, np.ndarray]:
    salient = masks.salient(some.images)[some.place]
    return {
        "iou": masks.iou(called, some.target),
        "pixel_accuracy": masks.pixel_accuracy(called, some.target),
        "boundary_f1": masks.boundary_f1(called, some.target),
        "saliency_iou": masks.iou(salient, some.target),
        "share": some.target.mean((1, 2)),
    }
