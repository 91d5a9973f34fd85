"""What the service writes down of each answer, and drift is judged by: numbers only, no picture and no text.

One row a (request, text) pair, a JSON object a line. The service writes rows with ``observe`` and ``Served.to_row``;
whoever reads them back uses ``Served.from_row``. The reference that windows of rows are compared with is a file of
such rows, too, made by the same ``observe`` from prepared test records.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Self

import numpy as np
from tokenizers import Tokenizer

from vlp.preprocessing.statistics import appearance, mean_colour, text_statistics
from vlp.records import Answer


class ServedError(ValueError):
    """A row that is no record of an answer; the message names the field."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """One answer about one image and one text, as numbers."""

    request: str
    """Names the request: rows of one request share an image. Unique in a log."""
    text: int
    """Position of the text in its request, from 0."""
    at: str
    """When it was answered: ISO 8601 with offset, ``2026-11-23T20:15:00.125+00:00``; empty in a reference."""
    bundle: str
    """Names the bundle that answered."""
    task: str
    red: float
    """Mean of the prepared image's red, 0 to 255; so are green and blue."""
    green: float
    blue: float
    contrast: float
    """Standard deviation of the luma, 8-bit scale."""
    sharpness: float
    """Variance of the Laplacian of the luma, 8-bit scale."""
    saturation: float
    """Mean of max(R, G, B) − min(R, G, B), 8-bit scale."""
    words: int
    """Of the cleaned text."""
    tokens: int
    """Word pieces of the text, [CLS] and [SEP] included, before any cut."""
    unknown_share: float
    """Share of the text's words that the vocabulary does not hold whole, 0 to 1."""
    score: float
    """The answer's score: for ``matching`` the probability that the text is true of the image."""

    def to_row(self) -> dict[str, Any]:
        """The fields by name, floats to six decimals: what one line of the log holds."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The record of one line. Other names in it are left alone: a log may add its own (a trace, a host).

        Raises:
            ServedError: a field is missing, of another type, not finite, or ``at`` is no time with an offset.
        """
        found = {field.name: _value(field.name, str(field.type), row) for field in fields(cls)}
        if found["at"]:
            _check_time(found["at"])
        return cls(**found)


def observe(
    pixels: np.ndarray,
    texts: Sequence[str],
    answers: Sequence[Answer],
    tokenizer: Tokenizer,
    *,
    request: str,
    at: str,
    bundle: str,
) -> list[Served]:
    """The rows of one answered request.

    Args:
        pixels: the prepared image, uint8 [S, S, 3].
        texts: cleaned, one an answer.
        answers: in the order of ``texts``.
        tokenizer: the bundle's own.
        request: its name.
        at: when it was answered, ISO 8601 with offset; empty for a reference.
        bundle: the name of the bundle that answered.
    """
    red, green, blue = mean_colour(pixels)
    sharpness, contrast, saturation = appearance(pixels)
    return [
        Served(
            request=request,
            text=index,
            at=at,
            bundle=bundle,
            task=answer.task,
            red=red,
            green=green,
            blue=blue,
            contrast=contrast,
            sharpness=sharpness,
            saturation=saturation,
            words=measured.words,
            tokens=measured.tokens,
            unknown_share=measured.unknown_share,
            score=answer.score,
        )
        for index, (answer, measured) in enumerate(zip(answers, text_statistics(texts, tokenizer), strict=True))
    ]


def _value(name: str, kind: str, row: Mapping[str, Any]) -> Any:
    if name not in row:
        raise ServedError(f"{name}: missing")
    value = row[name]
    wanted: tuple[type, ...] = {"str": (str,), "int": (int,), "float": (int, float)}[kind]
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise ServedError(f"{name}: expected {kind}, found {value!r}")
    if kind == "float" and not math.isfinite(row[name]):
        raise ServedError(f"{name}: expected a finite number, found {value}")
    return float(row[name]) if kind == "float" else value


def _check_time(text: str) -> None:
    try:
        offset = datetime.fromisoformat(text).utcoffset()
    except ValueError:
        offset = None
    if offset is None:
        raise ServedError(f"at: expected ISO 8601 with an offset, found {text!r}")
