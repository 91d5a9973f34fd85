"""The head of a pre-training objective as a file, and whose each of its rows is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vlp.models.weights import WeightsError, write_tensors

_ROWS = "rows"
"""Where a file says so: JSON among the metadata of safetensors."""


class Head(dict[str, Tensor]):
    """What an objective learnt, by the names of its own tensors.

    Attributes:
        rows: whose each row of its output is, where they are somebody's: labels, answers.
    """

    def __init__(self, tensors: Mapping[str, Tensor], rows: Sequence[str] = ()) -> None:
        super().__init__(tensors)
        self.rows = tuple(rows)

    def places(self, names: Sequence[str]) -> tuple[list[int], list[int]]:
        """Which of ``names``, by their places, have a row here, and which row each.

        Two heads of as many rows need not be about the same things.
        """
        row = {name: number for number, name in enumerate(self.rows)}
        known = [place for place, name in enumerate(names) if name in row]
        return known, [row[names[place]] for place in known]


def write(head: Head, path: Path) -> None:
    """Write a head, its rows among the metadata. Errors as of ``write_tensors``."""
    about = {_ROWS: json.dumps(head.rows, ensure_ascii=False)} if head.rows else None
    write_tensors(path, head, about)


def read(path: Path) -> Head:
    """What ``write`` wrote.

    Raises:
        WeightsError: it is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            return Head({name: file.get_tensor(name) for name in file.keys()}, json.loads(about.get(_ROWS, "[]")))  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{path}: not a readable weights file ({' '.join(str(error).split())[:200]})") from None
