"""The nouns of the data path, in the order of a pair's life.

``Record`` (what a source yields) → ``Measured`` and ``Finding`` (what validation says of it) →
``Example`` (what a prepared shard holds) → ``Batch`` (what a model eats) → ``Answer`` (what a
predictor says). The first three and the last know nothing of torch.

Shape legend, used by every docstring and as suffix of tensor names::

    B images in a batch      S side of a prepared image in pixels     C = 3 channels
    N texts in a batch       L tokens in a text (padded)              V vocabulary size
    P image tokens (grid)    D width of the fused space               K classes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """One statement about an image."""

    text: str
    negative: str | None = None
    """A minimal edit of ``text`` that is false of the image; None where the data has none."""
    kind: str = ""
    """What ``negative`` changes (``attribute``, ``relation``, …): the name of an evaluation slice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question about an image, with its answer and its type (an evaluation slice)."""

    text: str
    answer: str
    """The one to learn: of several that people gave, the one that they agree on."""
    type: str = ""
    given: tuple[str, ...] = ()
    """What each of several people answered, for data that have it (VQA v2: ten a question)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """A referring expression and the part of the image that it names."""

    expression: str
    mask: bytes
    """PNG of one channel, 0 or 255, of the image's own width and height."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One image and what was collected with it, unjudged: bytes and texts exactly as found."""

    id: str
    """Unique in the data set and stable from run to run."""
    image: bytes
    """The image file as collected; empty where it could not be read (``fault`` says why)."""
    image_name: str
    """The file's name as collected, extension included; never used to decide the format."""
    captions: tuple[Caption, ...]
    group: str
    """Records that must stay in one split (variants of a picture, one patient, one page) share it."""
    split: str | None = None
    """The official split, where the data set has one: ``train``, ``validation`` or ``test``."""
    labels: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    regions: tuple[Region, ...] = ()
    annotation: str | None = None
    """What the source knows of the image's content as JSON (for ``scenes``: the scene graph)."""
    fault: str | None = None
    """Why the source could not read this record whole, naming file and row; None if it could."""


Action = Literal["rejected", "dropped", "repaired", "reported"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that validation has to say of one record."""

    record: str
    field: str
    """``image``, ``captions[2]``, ``record``, …"""
    reason: str
    """A snake_case name that can be counted: ``truncated``, ``near_duplicate``, ``html``, …"""
    detail: str = ""
    action: Action = "rejected"
    """``rejected``: the record goes. ``dropped``: this field goes, the record stays. ``repaired``: kept,
    after an exact repair. ``reported``: kept as it is, for a person to look at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The measures of one record: numbers and hashes only, so that a million fit in memory."""

    id: str
    group: str
    split: str | None
    readable: bool
    """The image decodes, whole, inside the limits."""
    problem: str
    """Why it does not: a reason's name and detail, ``reason: detail``; empty if readable."""
    notes: tuple[str, ...]
    """What decoding had to repair: ``cmyk``, ``exif_rotated``, ``wrong_extension``, ``alpha``, …"""
    format: str
    mode: str
    width: int
    """Pixels, after EXIF orientation; 0 if unreadable. So is height."""
    height: int
    file_bytes: int
    sharpness: float
    """Variance of the Laplacian of the luma, 8-bit scale, at the prepared size."""
    contrast: float
    """Standard deviation of the luma, 8-bit scale."""
    saturation: float
    """Mean of max(R,G,B) − min(R,G,B), 8-bit scale: 0 for a picture without colour."""
    border: float
    """Share of the area in bands of one colour at the edges."""
    content_hash: str
    """SHA-256 of the file's bytes."""
    pixel_hash: str
    """SHA-256 of the prepared pixels: equal for equal pictures in different files."""
    thumbnail: bytes
    """8×8 RGB means of the prepared picture, 192 bytes: what near duplicates are searched by."""
    details: bytes
    """32×32 RGB means of it, 3,072 bytes: what near duplicates are told from other pictures by."""
    caption_problems: tuple[str, ...]
    """One entry a caption: ``reason: detail``, or empty."""
    caption_words: tuple[int, ...]
    """Words of each caption after cleaning."""
    caption_hashes: tuple[str, ...]
    """16 hexadecimal digits of the SHA-256 of each cleaned caption."""
    caption_scripts: tuple[str, ...]
    """Dominant script of each caption: ``latin``, ``han``, ``arabic``, …, or empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One prepared record: pixels, clean text and its token ids, ready for any task."""

    id: str
    group: str
    image: np.ndarray
    """uint8 [S, S, 3]."""
    captions: tuple[Caption, ...]
    labels: tuple[str, ...]
    questions: tuple[Question, ...]
    regions: tuple[tuple[str, np.ndarray], ...]
    """Referring expression and its mask, bool [S, S]."""
    annotation: str | None


@dataclass(kw_only=True, slots=True)
class Texts:
    """N texts, padded to one length.

    ``input_ids`` int64 [N, L]; ``attention_mask`` int64 [N, L], 1 on tokens; ``image_index`` int64
    [N], the row of ``Batch.images`` that each text belongs to (many texts may share an image, which
    is then encoded once); ``per_image``: how many consecutive texts every image has, 0 where that
    differs from image to image; ``targets``, where the objective has any: int64 [N, L] token ids with −100
    on positions that do not count, or float32 [N] in {0, 1}.
    """

    input_ids: Tensor
    attention_mask: Tensor
    image_index: Tensor
    per_image: int = 0
    targets: Tensor | None = None


@dataclass(kw_only=True, slots=True)
class Batch:
    """What a model eats: B images and named groups of texts about them.

    ``images`` uint8 [B, S, S, 3]: normalisation is the model's own first step. ``texts`` by name;
    the names are the contract between one collate function and one objective or task.
    ``targets``: whatever else that objective or task needs, each a tensor with B or N rows.
    """

    images: Tensor
    texts: dict[str, Texts]
    targets: dict[str, Tensor]

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same batch with ``change`` applied to each tensor."""
        texts = {
            name: Texts(
                input_ids=change(text.input_ids),
                attention_mask=change(text.attention_mask),
                image_index=change(text.image_index),
                per_image=text.per_image,
                targets=None if text.targets is None else change(text.targets),
            )
            for name, text in self.texts.items()
        }
        targets = {name: change(target) for name, target in self.targets.items()}
        return Batch(images=change(self.images), texts=texts, targets=targets)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory: what a DataLoader calls, and a GPU copies without waiting."""
        return self.map(lambda tensor: tensor.pin_memory())


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a predictor says of one input: a decision, its score, and every score behind it."""

    task: str
    decision: str
    score: float
    scores: dict[str, float]
