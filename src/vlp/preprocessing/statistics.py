"""A few numbers of one prepared image and of one text: the same in validation, in the reference and in serving.

Drift is a difference of two distributions of these numbers. It can only be seen if both sides measure alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from vlp.preprocessing.text import UNK, words

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # Rec. 601


_ONE_COLOUR = 12  # levels of 255 that compression adds to what was one colour


class TextStatistics(NamedTuple):
    """What is measured of one cleaned text."""

    words: int
    tokens: int
    """Word pieces, [CLS] and [SEP] included, before any cut."""
    unknown_share: float
    """Share of the words that the vocabulary does not hold whole: they are spelt in pieces, or not at all."""


def appearance(pixels: np.ndarray) -> tuple[float, float, float]:
    """Sharpness (variance of the Laplacian of the luma), contrast (standard deviation of the luma) and saturation.

    Args:
        pixels: uint8 [S, S, 3].

    Returns:
        Three numbers on the 8-bit scale; saturation is the mean of max(R, G, B) − min(R, G, B).

    Source: Pech-Pacheco et al. 2000, Diatom autofocusing in brightfield microscopy (the Laplacian's variance).
    """
    luma = pixels @ _LUMA
    laplacian = 4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    brightest = np.maximum(np.maximum(red, green), blue)
    darkest = np.minimum(np.minimum(red, green), blue)
    return float(laplacian.var()), float(luma.std()), float((brightest - darkest).mean())


def border(pixels: np.ndarray) -> float:
    """Share of the area in bands of one colour at the edges: letterboxes, frames, strips with writing on them.

    A row or column belongs to a band as long as at least half of it has the colour of the edge; what is written or
    stamped on a strip covers less.

    Args:
        pixels: uint8 [S, S, 3].
    """
    top, bottom = _band(pixels), _band(pixels[::-1])
    across = pixels.transpose(1, 0, 2)
    left, right = _band(across), _band(across[::-1])
    side = len(pixels)
    return 1.0 - max(0, side - top - bottom) * max(0, side - left - right) / side**2


def _band(rows: np.ndarray) -> int:
    """How many of the first rows are mostly of the colour that the very first one mostly has."""
    colour = np.median(rows[0], axis=0)
    alike = (np.abs(rows - colour).max(axis=2) <= _ONE_COLOUR).mean(axis=1) >= 0.5
    return len(rows) if alike.all() else int(np.argmin(alike))


def mean_colour(pixels: np.ndarray) -> tuple[float, float, float]:
    """Means of red, green and blue, 0 to 255, of uint8 [S, S, 3]."""
    red, green, blue = pixels.reshape(-1, 3).mean(axis=0, dtype=np.float64).tolist()
    return red, green, blue


def text_statistics(texts: Sequence[str], tokenizer: Tokenizer) -> list[TextStatistics]:
    """Length and unknown share of each of ``texts``, which are cleaned."""
    unknown = tokenizer.token_to_id(UNK)
    found = []
    for text, encoding in zip(texts, tokenizer.encode_batch(list(texts)), strict=True):
        pieces: dict[int, list[int]] = {}
        for word, token in zip(encoding.word_ids, encoding.ids, strict=True):
            if word is not None:  # [CLS] and [SEP] are of no word
                pieces.setdefault(word, []).append(token)
        split = sum(len(tokens) > 1 or tokens[0] == unknown for tokens in pieces.values())
        found.append(TextStatistics(words(text), len(encoding.ids), split / len(pieces) if pieces else 0.0))
    return found
