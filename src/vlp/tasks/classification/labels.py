"""The labels of a split as one table of rows and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlp.data.loading import Examples
from vlp.evaluation.nearest import colours_of, evenly, nearest

NEAREST_AMONG = 5000  # training images that the nearest is looked for among


def names(counts: Mapping[str, int], min_count: int) -> list[str]:
    """The labels that enough training records have, sorted: the order of every table of classes."""
    return sorted(label for label, count in counts.items() if count >= min_count)


def table(examples: Examples, labels: Sequence[str]) -> np.ndarray:
    """Bool [rows, K]: which of ``labels`` each record of the split has.

    Raises:
        ValueError: no record has any.
    """
    column = examples.table["labels"]
    codes = pc.index_in(pc.list_flatten(column), value_set=pa.array(list(labels), pa.string()))
    known = pc.fill_null(codes, -1).to_numpy()
    found = np.zeros((len(examples), len(labels)), bool)
    row = np.repeat(np.arange(len(examples)), pc.list_value_length(column).to_numpy())
    found[row[known >= 0], known[known >= 0]] = True
    if not found.any():
        raise ValueError(
            f"{examples.folder}: split {examples.split!r} has no record with any of the {len(labels)} labels; the task "
            "classification needs the field `labels`: name its column in the source, or take classification out of "
            "`tasks`"
        )
    return found


def of_nearest(examples: Examples, train: Examples, known: np.ndarray) -> np.ndarray:
    """Bool [rows, K]: the labels of the training image whose colours are most like each record's.

    Args:
        examples: the split that is asked about.
        train: what is known.
        known: its table, bool [n, K].
    """
    rows = evenly(np.arange(len(train)), NEAREST_AMONG)
    asked = colours_of(lambda some: examples.images(some).numpy(), np.arange(len(examples)))
    shown = colours_of(lambda some: train.images(some).numpy(), rows)
    return np.asarray(known[rows[nearest(asked, shown)]])


def check_exclusive(examples: Examples, found: np.ndarray) -> None:
    """One label a record at most.

    Raises:
        ValueError: naming the first record that has more.
    """
    several = np.flatnonzero(found.sum(1) > 1)
    if len(several):
        raise ValueError(
            f"{examples.folder}: split {examples.split!r}: record {examples.strings('id')[several[0]]!r} has "
            f"{int(found[several[0]].sum())} labels, and {len(several)} records have more than one; "
            "tasks.classification.kind: single wants one a record: set it to multi"
        )
