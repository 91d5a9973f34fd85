"""The contract of a downstream task: one file holds its head, its loss, its decisions and its metrics.

The life of a task, in order: built on a pre-trained backbone (``__init__``), prepared on the train split
(``prepare``: what must be known before the first step), trained (``collate``,
``forward``), calibrated on the validation split (``calibrate``: thresholds and the like, never on test),
saved and loaded, evaluated on the test split (``evaluate``), exported (``export_parts``). The loop, the
stages, the bundle and the flows know a task only by these methods.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn

from vlp.data.loading import Examples, Prepared, TokenIds, pad
from vlp.models import heads
from vlp.models.features import ImageFeatures
from vlp.models.heads import Head
from vlp.models.modeling import VLPModel
from vlp.models.nothing import nothing
from vlp.models.weights import write_tensors
from vlp.params import Section
from vlp.recipe import Recipe, TransferParams
from vlp.records import Batch, Texts

TEXTS_AT_ONCE = 512  # bounds memory, not the result


class TaskParams(Section):
    """What every section under ``tasks:`` has."""

    training: Recipe
    transfer: TransferParams = TransferParams()
    evaluation_batch_size: int = Field(gt=0, default=256)


@dataclass(frozen=True, slots=True)
class ExportPart:
    """One graph of a task: a module in eval mode, and what goes in and out of it.

    ``inputs`` maps each input's name to an example tensor, ``dynamic`` to its dynamic axes
    ({axis: name}); ``outputs`` names the outputs in order. ``most``: the longest that an axis of a name may be, where
    the module itself bounds it: the exporter, untold, finds out by following the module twice.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    dynamic: dict[str, dict[int, str]]
    outputs: tuple[str, ...]
    most: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Frozen:
    """N rows of a split as the frozen backbone sees them, for cross-validation of a linear head.

    ``features`` [N, D], ``targets`` bool [N, K], ``groups`` [N]: what must not be torn between folds. ``exclusive``:
    one class a row. ``metric``: ``accuracy`` (rows that are right in every class) or ``macro_f1``.
    """

    features: np.ndarray
    targets: np.ndarray
    groups: Sequence[str]
    exclusive: bool
    metric: Literal["accuracy", "macro_f1"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What evaluating a task yields.

    ``metrics`` by the names of the metrics contract; ``plots`` file name → rows, for ``dvc plots``;
    ``predictions`` one row an input, for reports that compare two models record by record; ``pictures`` file
    name → uint8 [H, W, 3], for a person to look at; ``frozen``: what a linear head would be fitted to, None where the
    task's answer is no choice among classes. It is what stood before the heads on the way to the metrics: nothing is
    passed over twice for it.
    """

    metrics: dict[str, Any]
    plots: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    frozen: Frozen | None = None


class Task(nn.Module, ABC):
    """A head on the backbone.

    Args:
        params: the task's section.
        model: the backbone, trained further with the head.
        prepared: the data's own numbers (special ids, labels, answers).
    """

    params_class: ClassVar[type[TaskParams]]
    name: ClassVar[str]
    rows: Sequence[str] = ()
    """Whose each row of the head's output is, where they are somebody's: labels, answers. Saved with it."""
    compares: ClassVar[bool] = False
    """Whether its loss tells the images of a batch apart, of all processes: of one image alone there is nothing to."""

    def __init__(self, params: TaskParams, model: VLPModel, prepared: Prepared) -> None:
        super().__init__()
        self.params = params
        self.model = model
        self.prepared = prepared
        self.decision: dict[str, Any] = {}
        """What ``calibrate`` chose on validation (thresholds …), saved with the weights."""
        self.resting: list[nn.Module] = []
        """What stays in eval mode while the rest is trained: frozen norms must not follow the batches either."""
        self._having: dict[tuple[str, str], np.ndarray] = {}

    def train(self, mode: bool = True) -> Self:
        """As of ``nn.Module``, what is resting apart."""
        super().train(mode)
        for part in self.resting:
            part.eval()
        return self

    def _judged(self) -> list[Examples]:
        """The splits that something is chosen on and measured on: what they lack must be said before training."""
        return [self.prepared.split(name) for name in ("validation", "test")]

    def _nothing(self) -> Tensor:
        """The loss of a batch that has nothing to teach: zero, and so are the gradients of all that is trained."""
        return nothing(each for each in self.parameters() if each.requires_grad)

    def _rows_with(self, column: str, examples: Examples) -> np.ndarray:
        """The rows of a split that have an entry in ``column`` (``captions``, ``regions`` …), int64.

        Raises:
            ValueError: none has.
        """
        key = (examples.split, column)
        if key not in self._having:
            self._having[key] = np.flatnonzero(examples.lengths(column))
        if not len(self._having[key]):
            raise ValueError(
                f"{examples.folder}: no record of the split {examples.split!r} has an entry in `{column}`, which the "
                f"task {self.name} learns from: give the source some, or take the task out of params.yaml"
            )
        return self._having[key]

    def _drawable(
        self, column: str, examples: Examples, rows: Sequence[int], rng: np.random.Generator
    ) -> Sequence[int]:
        """``rows``, of which each that has no entry in ``column`` gives its place to one that has some.

        Raises:
            ValueError: none of the split has.
        """
        has = self._rows_with(column, examples)
        if len(has) == len(examples):
            return rows
        known = np.isin(rows, has)
        return [row if own else int(rng.choice(has)) for row, own in zip(rows, known.tolist(), strict=True)]

    def _require_captions(self) -> None:
        """Before anything is trained: every record that will be judged can be.

        Raises:
            ValueError: records of a split have no caption.
        """
        for split in self.prepared.summary["splits"]:
            each = self.prepared.split(split).lengths("captions")
            if bare := int((each == 0).sum()):
                raise ValueError(
                    f"{self.prepared.folder}: {bare} of {len(each)} records of the split {split!r} have no caption, "
                    f"and the task {self.name} reads one of each: set clean.min_captions to 1 or more"
                )

    @abstractmethod
    def warm_start(self, objectives: Mapping[str, Head]) -> None:
        """Take over what pre-training's heads (by objective name) already learned: rows by what they are about."""

    def prepare(self, train: Examples, seed: int) -> None:
        """Measure on the train split whatever must be known before the first step. Called once, before training.

        Raises:
            ValueError: of a split that cannot be learnt from, calibrated on or measured on, as far as that can be seen.
        """

    @abstractmethod
    def collate(self, examples: Examples, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        """A training batch."""

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalars; those that end in ``_loss`` are summed by the loop."""

    @abstractmethod
    def calibrate(self, validation: Examples, seed: int) -> None:
        """Choose on the validation split whatever is chosen after training, into ``decision``."""

    @abstractmethod
    def evaluate(self, test: Examples, seed: int, resamples: int) -> Evaluation:
        """Measure on the test split, intervals and baselines included."""

    @abstractmethod
    def export_parts(self) -> dict[str, ExportPart]:
        """The graphs to export, by name."""

    def head_state(self) -> dict[str, Tensor]:
        """Everything trained that is not the backbone."""
        return {k: v.contiguous() for k, v in self.state_dict().items() if not k.startswith("model.")}

    def save(self, folder: Path) -> None:
        """Write backbone, head and ``task.json``."""
        self.model.save_pretrained(folder)
        write_tensors(folder / "head.safetensors", self.head_state())
        # What the weights started from is no part of what they are: whoever loads them has nothing to transfer.
        params = self.params.model_dump(mode="json", exclude={"transfer"})
        about = {"task": self.name, "params": params, "decision": self.decision, "rows": list(self.rows)}
        (folder / "task.json").write_text(json.dumps(about, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, prepared: Prepared) -> Self:
        """The task as ``save`` wrote it, in eval mode.

        Raises:
            ValueError: the folder holds another task, weights of other names or shapes, or was trained on data of
                another vocabulary, image size, labels or answers.
        """
        about = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        if about["task"] != cls.name:
            raise ValueError(f"{folder}: holds the task {about['task']!r}, not {cls.name!r}")
        params = cls.params_class.model_validate_json(json.dumps(about["params"]))
        model = VLPModel.from_pretrained(folder)
        _check_data(model, folder, prepared)
        task = cls(params, model, prepared)
        _check_rows(about.get("rows", []), task.rows, f"{folder}/task.json", prepared)
        missing, unexpected = task.load_state_dict(load_file(folder / "head.safetensors"), strict=False)
        wrong = [name for name in missing if not name.startswith("model.")] + list(unexpected)
        if wrong:
            raise ValueError(f"{folder}/head.safetensors: does not fit this head: {', '.join(wrong)}")
        task.decision = about["decision"]
        return task.eval()


def _check_data(model: VLPModel, folder: Path, prepared: Prepared) -> None:
    for what, theirs, own in (
        ("vocabulary_size", model.config.vocab_size, prepared.vocabulary_size),
        ("image_size", model.config.image_size, prepared.image_size),
    ):
        if theirs != own:
            raise ValueError(
                f"{folder}: {what} is {theirs}, of {prepared.folder} it is {own}: train the task on this data, or "
                "prepare the data as it was"
            )


def _check_rows(theirs: Sequence[str], own: Sequence[str], where: str, prepared: Prepared) -> None:
    if list(theirs) == list(own):
        return
    other = sorted(set(theirs) ^ set(own))
    which = f"{other[0]!r} is of one of them only" if other else "they stand in another order"
    raise ValueError(
        f"{where}: its head is of {len(theirs)} labels or answers, {prepared.folder} has {len(own)}, and {which}: "
        "train the task on this data, or prepare the data as it was"
    )


def image_part(model: VLPModel, images: Tensor) -> ExportPart:
    """The graph ``image`` of a task that fuses: pixels to ``image_tokens`` [B, P, D] and ``image_pooled`` [B, Dv].

    Args:
        model: the backbone.
        images: uint8 [B, S, S, 3], B at least 2: the example that the graph is followed with.
    """
    return ExportPart(
        module=_Image(model),
        inputs={"images": images},
        dynamic={"images": {0: "images"}},
        outputs=("image_tokens", "image_pooled"),
    )


Answering = Callable[[ImageFeatures, Tensor, Tensor], Tensor]
"""What a task makes of image features, token ids [N, L] and their mask [N, L]: one row a text."""


def fused_part(task: Task, answer: Answering, images: Tensor, output: str) -> ExportPart:
    """The graph behind ``image`` of a task that fuses: features of N images and N texts to N answers.

    Args:
        task: in eval mode; its weights become the graph's.
        answer: a method of it.
        images: as of ``image_part``.
        output: what the graph's output is called.
    """
    features = task.model.encode_image(images)
    ids = torch.full((2, 8), task.prepared.mask_id, dtype=torch.int64)
    text = {0: "texts", 1: "length"}
    return ExportPart(
        module=_Fused(task, answer),
        inputs={
            "image_tokens": features.tokens.detach(),
            "image_pooled": features.pooled.detach(),
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
        },
        dynamic={
            "image_tokens": {0: "texts"},
            "image_pooled": {0: "texts"},
            "input_ids": text,
            "attention_mask": text,
        },
        outputs=(output,),
        most={"length": task.model.text_encoder.max_positions},
    )


class _Fused(nn.Module):
    def __init__(self, task: Task, answer: Answering) -> None:
        super().__init__()
        self.task, self.answer = task, answer

    def forward(self, image_tokens: Tensor, image_pooled: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.answer(ImageFeatures(tokens=image_tokens, pooled=image_pooled), input_ids, attention_mask)


def without_picture(
    model: VLPModel, prepared: Prepared, texts: Sequence[TokenIds], read: Callable[[ImageFeatures, Texts], np.ndarray]
) -> np.ndarray:
    """What ``read`` makes of N texts without any picture: each is read once, however often it stands there.

    Args:
        model: the backbone.
        prepared: whose pictures and texts it takes.
        texts: N token ids.
        read: the features of mid-grey and M texts → [M, …].
    """
    blank = grey(model, prepared.image_size)
    known, number = distinct(texts)
    parts = (known[start : start + TEXTS_AT_ONCE] for start in range(0, len(known), TEXTS_AT_ONCE))
    return np.concatenate([read(blank, pad(part, [0] * len(part), prepared.pad_id)) for part in parts])[number]


def grey(model: VLPModel, image_size: int) -> ImageFeatures:
    """Features of a picture that shows nothing (mid-grey), one row: it serves any number of consecutive texts."""
    return model.encode_image(torch.full((1, image_size, image_size, 3), 128, dtype=torch.uint8))


def distinct(texts: Sequence[TokenIds]) -> tuple[list[TokenIds], np.ndarray]:
    """Each text once, short ones first so that batches of them are padded little, and int64 [N]: which each is.

    Without its picture a text has one answer, however many pictures it is about.
    """
    known = sorted({ids.tobytes(): ids for ids in texts}.values(), key=len)
    number = {ids.tobytes(): place for place, ids in enumerate(known)}
    return known, np.array([number[ids.tobytes()] for ids in texts], np.int64)


class _Image(nn.Module):
    def __init__(self, model: VLPModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.encode_image(images)
        return features.tokens, features.pooled


def pretrained_heads(folder: Path) -> dict[str, Head]:
    """The heads that pre-training left beside the backbone, by objective: what ``warm_start`` is given."""
    return {path.stem: heads.read(path) for path in sorted((folder / "objectives").glob("*.safetensors"))}
