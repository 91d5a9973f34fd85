"""Augmentation that keeps a pair true: what is done to a picture is done to its masks and texts, or is not done.

* A mirror image swaps left and right in every text of the row; where they are not used as directions, or a text
  speaks of writing, clocks or points of the compass, the row is not mirrored.
* A rotation keeps the whole picture in view and is left out where any text speaks of directions.
* Colours change only where no text, answer or label of the row names one.
* A crop or an erased patch can take away what a text speaks of: no rule over words can see that. They are for data
  whose pictures show one thing, in the middle; where a text counts, denies or places things they are left out.
* Synonyms take the place of words in a caption and in its false twin alike. Words are masked only in captions
  without a twin: a masked statement says less, so that it stays true, but a masked false one may become true.

The rules read English: a row with a text in another script is changed by nothing that they guard. What a data set
allows stands in its parameters; nothing is allowed by default.

Sources: random resized crop, Szegedy et al. 2015, https://arxiv.org/abs/1409.4842; random erasing, Zhong et al. 2020,
https://arxiv.org/abs/1708.04896; that such changes falsify captions, Zhang et al. 2020, https://arxiv.org/abs/2010.00747.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field, field_validator
from tokenizers import Tokenizer

from vlp.data.loading import Augmenter, Examples, Prepared, TokenIds
from vlp.data.truths import may_lose_parts, may_recolour, may_rotate, mirrored
from vlp.params import Section
from vlp.preprocessing.text import load_tokenizer, shorten, special_ids


class AugmentParams(Section):
    """What may be done to the pairs of the train split, anew in every step; 0 (of a crop, 1) is off."""

    flip: float = Field(0.0, ge=0, le=0.5, description="chance of a mirror image, its texts and masks with it")
    rotate: float = Field(0.0, ge=0, le=30, description="degrees at most, either way")
    colour: float = Field(0.0, ge=0, le=0.5, description="most that brightness, contrast, saturation are changed by")
    crop: float = Field(1.0, ge=0.25, le=1, description="least share of the picture's area that a crop keeps")
    erase: float = Field(0.0, ge=0, le=1, description="chance that a patch of up to a fiftieth of the area is erased")
    mask_words: float = Field(0.0, ge=0, le=0.5, description="share of the tokens of captions without twins")
    synonyms: dict[str, tuple[str, ...]] = Field({}, description="ways to say a word, in captions: {large: [big]}")
    blocking_words: tuple[str, ...] = Field(
        (), description="a row whose texts have one of these is left as it is, but for synonyms and masking"
    )

    @field_validator("synonyms")
    @classmethod
    def _ways(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for word, ways in value.items():
            if not ways or not all(re.search(r"\w", each) for each in (word, *ways)):
                raise ValueError(f"expected ways to say {word!r}")
        return value

    @property
    def off(self) -> bool:
        """Nothing is ever changed."""
        return not (
            any((self.flip, self.rotate, self.colour, self.erase, self.mask_words, self.synonyms)) or self.crop < 1
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to one row in one step; the default is nothing."""

    flip: bool = False
    angle: float = 0.0
    """Degrees counterclockwise."""
    colour: tuple[float, float, float] | None = None
    """Factors of brightness, contrast and saturation."""
    crop: tuple[int, int, int, int] | None = None
    """Top, left, height and width in pixels."""
    erase: tuple[int, int, int, int] | None = None

    def picture(self, image: torch.Tensor) -> torch.Tensor:
        """``image`` (uint8 [S, S, 3]) changed."""
        from torchvision.transforms.v2 import functional as F

        changed = self._moved(image.permute(2, 0, 1), F.InterpolationMode.BILINEAR, _border(image))
        if self.colour:
            brightness, contrast, saturation = self.colour
            changed = F.adjust_saturation(
                F.adjust_contrast(F.adjust_brightness(changed, brightness), contrast), saturation
            )
        if self.erase:
            mean = changed.float().mean(dim=(1, 2), keepdim=True).to(torch.uint8)
            changed = F.erase(changed, *self.erase, mean)
        return changed.permute(1, 2, 0)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """``mask`` (bool [S, S]) moved with its picture."""
        from torchvision.transforms.v2 import functional as F

        moved = self._moved(torch.from_numpy(mask.astype(np.uint8))[None], F.InterpolationMode.NEAREST, [0.0])
        return moved[0].numpy() > 0

    def _moved(self, image: torch.Tensor, how: Any, fill: list[float]) -> torch.Tensor:
        from torchvision.transforms.v2 import functional as F

        size = list(image.shape[-2:])
        # Torch's nearest takes the pixel above and to the left; bilinear, and the exact one, look at centres.
        exact = F.InterpolationMode.NEAREST_EXACT if how is F.InterpolationMode.NEAREST else how
        if self.flip:
            image = F.horizontal_flip(image)
        if self.angle:  # expanded, so that nothing leaves the picture
            image = F.resize(F.rotate(image, self.angle, how, expand=True, fill=fill), size, exact, antialias=False)
        if self.crop:
            image = F.resized_crop(image, *self.crop, size, exact, antialias=False)
        return image


def _border(image: torch.Tensor) -> list[float]:
    """Mean colour of the outermost pixels of ``image`` [S, S, 3]: what fills the corners that a rotation leaves."""
    edges = torch.cat([image[0], image[-1], image[:, 0], image[:, -1]]).float()
    return [float(value) for value in edges.mean(dim=0).round()]


def augmenter(params: AugmentParams, prepared: Prepared) -> Augmenter | None:
    """What ``loading.loader`` applies to each batch; None where the parameters allow nothing.

    Raises:
        TokenizerError: the prepared data has no readable tokenizer.
    """
    if params.off:
        return None
    return partial(_view, params=params, folder=prepared.folder, limit=int(prepared.summary["max_tokens"]))


def _view(examples: Examples, seed: tuple[int, ...], *, params: AugmentParams, folder: Path, limit: int) -> Examples:
    return Augmented(examples, seed, params, folder, limit)


_tokenizers: dict[Path, Tokenizer] = {}


class Augmented(Examples):
    """The rows of one batch, each changed in one way for all that is asked of it.

    Args:
        examples: the split.
        seed: of the changes: the batch's.
        params: what is allowed.
        folder: holds the tokenizer.
        limit: L, most tokens of a text.
    """

    def __init__(
        self, examples: Examples, seed: tuple[int, ...], params: AugmentParams, folder: Path, limit: int
    ) -> None:
        self.__dict__.update(examples.__dict__)  # shares the mapped table and its columns
        self._seed, self._params, self._limit = seed, params, limit
        if folder not in _tokenizers:
            _tokenizers[folder] = load_tokenizer(folder / "tokenizer")
        self._tokenizer = _tokenizers[folder]
        self._base = examples
        self._changes: dict[int, Change] = {}
        self._entries: dict[tuple[str, int], list[dict[str, object]]] = {}

    def images(self, indices: Sequence[int]) -> torch.Tensor:
        images = self._base.images(indices)
        for place, index in enumerate(indices):
            if (change := self.change(index)) != Change():
                images[place] = change.picture(images[place])
        return images

    def ids(self, column: str, field: str, index: int) -> list[TokenIds | None]:
        stored = self._base.ids(column, field, index)
        name = {"ids": "expression" if column == "regions" else "text", "negative_ids": "negative"}[field]
        found = []
        for place, (ids, entry) in enumerate(zip(stored, self._stored(column, index), strict=True)):
            text = entry[name]
            said = None if text is None else self._said(str(text), column, index, place)
            ids = ids if said == text or said is None else self._encoded(said)
            alone = column == "captions" and field == "ids" and entry["negative"] is None
            found.append(self._masked(ids, index, place) if alone and ids is not None else ids)
        return found

    def values(self, column: str, index: int) -> list[dict[str, object]]:
        entries = [dict(entry) for entry in self._stored(column, index)]
        for place, entry in enumerate(entries):
            for name, ids in (("text", "ids"), ("negative", "negative_ids"), ("expression", "ids")):
                if (
                    isinstance(text := entry.get(name), str)
                    and (said := self._said(text, column, index, place)) != text
                ):
                    entry[name], entry[ids] = said, self._encoded(said).tolist()
            if "mask" in entry:
                entry["mask"] = np.packbits(self.masks(index)[place]).tobytes()
        return entries

    def _stored(self, column: str, index: int) -> list[dict[str, object]]:
        if (column, index) not in self._entries:
            self._entries[column, index] = self._base.values(column, index)
        return self._entries[column, index]

    def masks(self, index: int) -> list[np.ndarray]:
        masks, change = self._base.masks(index), self.change(index)
        return masks if change == Change() else [change.mask(mask) for mask in masks]

    def change(self, index: int) -> Change:
        """What is done to the row ``index``: the same whenever it is asked."""
        if index not in self._changes:
            change = self._draw(index)
            if change.angle or change.crop:
                masks = [mask for mask in self._base.masks(index) if mask.any()]
                if not all(change.mask(mask).any() for mask in masks):  # an expression must name something
                    change = replace(change, angle=0.0, crop=None)
            self._changes[index] = change
        return self._changes[index]

    def _texts(self, index: int) -> tuple[list[str], list[str]]:
        """The texts of a row that can be rewritten, and its answers and labels, which cannot."""
        texts = [str(entry[name]) for column, names in _TEXTS.items() for entry in self._stored(column, index)
                 for name in names if entry[name] is not None]  # fmt: skip
        fixed = [str(entry["answer"]) for entry in self._stored("questions", index)]
        return texts, [*fixed, *self._base.labels(index)]

    def _draw(self, index: int) -> Change:
        params, rng = self._params, self._rng(index, 0)
        texts, fixed = self._texts(index)
        said = [*texts, *fixed]
        if any(word.lower() in text.lower() for word in params.blocking_words for text in said):
            return Change()
        # Drawn whether or not they are allowed: what one row may do changes nothing for the others.
        flip, turn, *colours, zoom, top, left, patched = rng.random(9).tolist()
        brightness, contrast, saturation = (1 + params.colour * (2 * drawn - 1) for drawn in colours)
        box, patch = _box(self.image_size, params.crop + (1 - params.crop) * zoom, top, left), None
        if patched < params.erase:
            patch = _box(self.image_size, 0.02 * float(rng.random()), float(rng.random()), float(rng.random()))
        may_flip = all(mirrored(text) is not None for text in texts) and all(mirrored(text) == text for text in fixed)
        may_cut = (params.crop < 1 or params.erase > 0) and all(map(may_lose_parts, said))
        return Change(
            flip=flip < params.flip and may_flip,
            angle=params.rotate * (2 * turn - 1) if params.rotate and all(map(may_rotate, said)) else 0.0,
            colour=(brightness, contrast, saturation) if params.colour and all(map(may_recolour, said)) else None,
            crop=box if params.crop < 1 and may_cut else None,
            erase=patch if may_cut else None,
        )

    def _said(self, text: str, column: str, index: int, place: int) -> str:
        """What ``text`` has to say of the changed picture."""
        if self.change(index).flip:
            turned = mirrored(text)
            assert turned is not None, "only rows whose texts can be mirrored are"
            text = turned
        if column == "captions":  # a caption and its twin draw the same words
            text = paraphrased(text, self._params.synonyms, self._rng(index, 1 + place))
        return text

    def _masked(self, ids: TokenIds, index: int, place: int) -> TokenIds:
        if not self._params.mask_words:
            return ids
        chosen = self._rng(index, 10_000 + place).random(len(ids)) < self._params.mask_words
        chosen[[0, -1]] = False  # [CLS] and [SEP]
        return np.where(chosen, special_ids(self._tokenizer)["mask"], ids).astype(ids.dtype)

    def _encoded(self, text: str) -> TokenIds:
        ids = self._tokenizer.encode(text).ids
        return np.asarray(shorten(ids, self._limit, ids[-1]), dtype=np.int32)

    def _rng(self, index: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng((*self._seed, index, purpose))


_TEXTS = {"captions": ("text", "negative"), "questions": ("text",), "regions": ("expression",)}


def paraphrased(text: str, synonyms: dict[str, tuple[str, ...]], rng: np.random.Generator) -> str:
    """``text`` with each word that has synonyms said in one of its ways, the same one throughout."""
    for word, ways in synonyms.items():
        way = (word, *ways)[int(rng.integers(len(ways) + 1))]
        literal = way.replace("\\", r"\\")
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", literal, text)
    return text


def _box(side: int, share: float, top: float, left: float) -> tuple[int, int, int, int]:
    """A square of ``share`` of the area of a picture: top, left, height, width in pixels."""
    length = max(1, round(side * share**0.5))
    return round((side - length) * top), round((side - length) * left), length, length
