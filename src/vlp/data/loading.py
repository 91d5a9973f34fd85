"""Shuffled batches from prepared shards: memory-mapped, seeded, the same for any number of workers.

A batch is planned before it is read: a ``Plan`` is a step number and the rows it takes, and the
random numbers of a batch come from (seed, step). So any worker can build any batch, and a run that
is resumed at step n sees what it would have seen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from vlp.data import examples, shards
from vlp.records import Batch, Texts

TokenIds = np.ndarray
"""int32 [L], one text, not padded."""


class _TextColumn(NamedTuple):
    """Token ids of a list of texts per row, without a Python object per text."""

    rows: np.ndarray  # offsets of each row's texts
    texts: np.ndarray  # offsets of each text's ids
    ids: np.ndarray
    valid: np.ndarray  # bool per text: the field is not null

    def row(self, index: int) -> list[TokenIds | None]:
        start, stop = self.rows[index], self.rows[index + 1]
        return [self.ids[self.texts[i] : self.texts[i + 1]] if self.valid[i] else None for i in range(start, stop)]


class Examples:
    """Random access to one split of prepared shards.

    Args:
        folder: what the preprocess stage wrote.
        split: ``train``, ``validation`` or ``test``.

    Raises:
        ShardError: the folder has no such split, or a shard is not readable.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split = folder, split
        self.table = shards.open_table(folder, split)
        self._chunks = self.table.to_batches()
        self._starts = np.cumsum([0, *(chunk.num_rows for chunk in self._chunks)])
        self._columns: dict[tuple[int, str, str], _TextColumn] = {}
        self._strings: dict[str, list[str]] = {}
        self._most: dict[str, int] = {}

    def __len__(self) -> int:
        return self.table.num_rows

    def __getstate__(self) -> tuple[Path, str]:
        # A worker maps the shards itself rather than receive them.
        return self.folder, self.split

    def __setstate__(self, state: tuple[Path, str]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    @cached_property
    def image_size(self) -> int:
        """S, the side of every prepared image in pixels."""
        return math.isqrt(len(self.table["image"][0].as_buffer()) // 3) if len(self) else 0

    def _locate(self, index: int) -> tuple[int, int]:
        chunk = int(np.searchsorted(self._starts, index, side="right")) - 1
        return chunk, index - int(self._starts[chunk])

    def images(self, indices: Sequence[int]) -> torch.Tensor:
        """uint8 [B, S, S, 3]: the pixels of those rows."""
        size = self.image_size
        out = np.empty((len(indices), size, size, 3), np.uint8)
        for row, index in enumerate(indices):
            chunk, offset = self._locate(index)
            buffer = self._chunks[chunk].column("image")[offset].as_buffer()
            out[row] = np.frombuffer(buffer, np.uint8).reshape(size, size, 3)
        return torch.from_numpy(out)

    def ids(self, column: str, field: str, index: int) -> list[TokenIds | None]:
        """Token ids of every text in ``column`` of one row; None where the field is null.

        Args:
            column: ``captions``, ``questions`` or ``regions``.
            field: the field of its struct that holds ids: ``ids`` or ``negative_ids``.
            index: the row.
        """
        chunk, offset = self._locate(index)
        key = (chunk, column, field)
        if key not in self._columns:
            self._columns[key] = self._text_column(*key)
        return self._columns[key].row(offset)

    def _text_column(self, chunk: int, column: str, field: str) -> _TextColumn:
        rows = self._chunks[chunk].column(column)
        texts = rows.values.field(field)
        valid = np.ones(len(texts), bool) if not texts.null_count else ~texts.is_null().to_numpy(zero_copy_only=False)
        return _TextColumn(rows.offsets.to_numpy(), texts.offsets.to_numpy(), texts.values.to_numpy(), valid)

    def strings(self, column: str) -> list[str]:
        """A whole column of strings: ``id`` or ``group``."""
        if column not in self._strings:
            self._strings[column] = self.table[column].to_pylist()
        return self._strings[column]

    def labels(self, index: int) -> list[str]:
        """The labels of one row."""
        chunk, offset = self._locate(index)
        return [str(name) for name in self._chunks[chunk].column("labels")[offset].as_py()]

    def lengths(self, column: str) -> np.ndarray:
        """int64 [rows]: how many entries each row has in ``captions``, ``questions`` or ``regions``."""
        offsets = [chunk.column(column).offsets.to_numpy() for chunk in self._chunks]
        return np.concatenate([np.diff(each) for each in offsets] or [np.empty(0)]).astype(np.int64)

    def most(self, column: str) -> int:
        """The largest of these ``lengths``; 0 without a row."""
        if column not in self._most:
            self._most[column] = int(self.lengths(column).max(initial=0))
        return self._most[column]

    def masks(self, index: int) -> list[np.ndarray]:
        """The masks of one row's regions, each bool [S, S], in the order of their expressions."""
        chunk, offset = self._locate(index)
        packed = self._chunks[chunk].column("regions")[offset].values.field("mask")
        return [examples.unpack_mask(mask.as_py(), self.image_size) for mask in packed]

    def values(self, column: str, index: int) -> list[dict[str, object]]:
        """The whole entries of a list column in one row, as plain objects: for evaluation, not for a hot loop."""
        chunk, offset = self._locate(index)
        return self._chunks[chunk].column(column)[offset].as_py() or []


class Prepared:
    """A folder that the preprocess stage wrote: its numbers, and its splits.

    Args:
        folder: holds ``summary.json``, ``tokenizer/`` and the shards of each split.

    Raises:
        ShardError: there is no summary in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise shards.ShardError(f"{folder}: no summary.json; run the preprocess stage first") from None
        self.vocabulary_size: int = self.summary["vocabulary_size"]
        self.image_size: int = self.summary["image_size"]
        self.pad_id: int = self.summary["pad_id"]
        self.mask_id: int = self.summary["mask_id"]
        self.special_ids = frozenset(int(self.summary[f"{name}_id"]) for name in ("pad", "unk", "cls", "sep", "mask"))

    def split(self, name: str) -> Examples:
        """The examples of one split."""
        return Examples(self.folder, name)


@dataclass(frozen=True, slots=True)
class Plan:
    """One batch to be: its step number and the rows it takes."""

    step: int
    rows: tuple[int, ...]
    part: int = 0
    """Which part of the step's batch, where several processes or several passes share it."""

    def seed(self, run: int) -> tuple[int, ...]:
        """Of everything drawn for this batch in a run of the seed ``run``."""
        return (run, self.step, self.part) if self.part else (run, self.step)


class Plans(Sampler[Plan]):
    """The plans of a run: every epoch a seeded permutation, cut into batches of equal size.

    The remainder of an epoch opens the next one, so that every batch is full and each row is seen
    once before any is seen twice. Processes, and the passes of one process over its share, take interleaved parts
    of every batch: a plan each.

    Args:
        rows: how many there are to draw from.
        batch_size: rows of a batch over all processes.
        steps: how many batches the run has.
        seed: of the permutations.
    """

    def __init__(self, rows: int, batch_size: int, steps: int, seed: int) -> None:
        if rows < 1:
            raise ValueError("no rows to draw from: the split is empty")
        self.rows, self.batch_size, self.steps, self.seed = rows, batch_size, steps, seed
        self.share()

    def share(self, *, first: int = 0, rank: int = 0, world: int = 1, passes: int = 1) -> Self:
        """Plan this process's part only; returns itself.

        Args:
            first: the step to begin at, after a resume.
            rank: this process.
            world: how many processes share each batch.
            passes: how many parts a process takes its share in.

        Raises:
            ValueError: the batch does not divide evenly.
        """
        if self.batch_size % (world * passes):
            raise ValueError(
                f"batch_size {self.batch_size} does not divide among {world} processes of {passes} passes each: "
                "change it, or training.accumulate"
            )
        self.first, self.rank, self.world, self.passes = first, rank, world, passes
        return self

    def __len__(self) -> int:
        return (self.steps - self.first) * self.passes

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(self.rows)

    def __iter__(self) -> Iterator[Plan]:
        epoch, order = -1, np.empty(0, np.int64)
        for step in range(self.first, self.steps):
            picked: list[int] = []
            position = step * self.batch_size
            while len(picked) < self.batch_size:
                if (position + len(picked)) // self.rows != epoch:
                    epoch = (position + len(picked)) // self.rows
                    order = self._permutation(epoch)
                start = (position + len(picked)) % self.rows
                picked.extend(order[start : start + self.batch_size - len(picked)].tolist())
            parts = self.world * self.passes
            for part in range(self.rank, parts, self.world):
                yield Plan(step, tuple(picked[part::parts]), part)


def in_order(rows: int, batch_size: int) -> list[Plan]:
    """Plans that pass over all rows once, in order: for evaluation."""
    starts = range(0, rows, batch_size)
    return [Plan(step, tuple(range(start, min(start + batch_size, rows)))) for step, start in enumerate(starts)]


Collate = Callable[[Examples, Sequence[int], np.random.Generator], Batch]
"""Builds a batch from rows: each objective set and task has one."""

Augmenter = Callable[[Examples, tuple[int, ...]], Examples]
"""The same rows, changed as the batch's seed decides."""


class _Batches(Dataset[Batch]):
    def __init__(self, examples: Examples, collate: Collate, seed: int, augment: Augmenter | None) -> None:
        self.examples, self.collate, self.seed, self.augment = examples, collate, seed, augment

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, plan: Plan) -> Batch:
        seed = plan.seed(self.seed)
        examples = self.augment(self.examples, seed) if self.augment else self.examples
        return self.collate(examples, plan.rows, np.random.default_rng(seed))


def loader(
    examples: Examples,
    collate: Collate,
    plans: Sampler[Plan] | Sequence[Plan],
    *,
    seed: int,
    workers: int = 0,
    augment: Augmenter | None = None,
) -> DataLoader[Batch]:
    """A DataLoader that yields one ``Batch`` a plan.

    The batches are the same whatever ``workers`` is: their random numbers hang on (seed, step) only.
    """
    return DataLoader(
        _Batches(examples, collate, seed, augment),
        sampler=plans,
        batch_size=None,
        num_workers=workers,
        persistent_workers=False,
        pin_memory=torch.cuda.is_available(),
        # Of its own: making an iterator draws from torch's numbers, which a resumed run must find as they were.
        generator=torch.Generator(),
    )


def draw(count: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """``wanted`` of ``count`` places at random, none twice before all have come once.

    Every image of a batch then has the same number of texts, which the model makes use of.
    """
    rounds = -(-wanted // count) if count else 0
    places = np.concatenate([rng.permutation(count) for _ in range(rounds)] or [np.empty(0, np.int64)])
    return [int(place) for place in places[:wanted]]


def pad(texts: Sequence[TokenIds], image_index: Sequence[int], pad_id: int) -> Texts:
    """Pad N texts to the longest of them.

    Args:
        texts: token ids of each, none empty.
        image_index: the row of the batch's images that each belongs to.
        pad_id: the tokenizer's ``[PAD]``.
    """
    lengths = np.fromiter((len(text) for text in texts), np.int64, len(texts))
    longest = int(lengths.max()) if len(texts) else 1
    mask_NL = np.arange(longest) < lengths[:, None]
    ids_NL = np.full((len(texts), longest), pad_id, np.int64)
    if len(texts):
        ids_NL[mask_NL] = np.concatenate(list(texts))
    return Texts(
        input_ids=torch.from_numpy(ids_NL),
        attention_mask=torch.from_numpy(mask_NL.astype(np.int64)),
        image_index=torch.tensor(list(image_index), dtype=torch.int64),
        per_image=_per_image(image_index),
    )


def about_nothing(mask_id: int, pad_id: int) -> Texts:
    """One text, of a mask alone, about the batch's first image: what stands in a batch that else had none.

    Nothing is asked of it. But processes that train together wait for each other within the network (for batch
    statistics, weights in parts, gradients), so that each has to pass all of it, whatever its share of a batch holds.
    """
    return pad([np.array([mask_id], np.int32)], [0], pad_id)


def wordless(ids: TokenIds) -> TokenIds:
    """The text with nothing between its first and last token, which open and close every text."""
    return ids[[0, -1]]


def _per_image(image_index: Sequence[int]) -> int:
    images = max(image_index, default=-1) + 1
    each = len(image_index) // images if images else 0
    return each if list(image_index) == [row for row in range(images) for _ in range(each)] else 0


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch on ``device``."""
    return batch.map(lambda tensor: tensor.to(device, non_blocking=True))
